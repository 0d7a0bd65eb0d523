"""What a running node counts and times, for its diagnostics."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from threading import Lock
from time import monotonic

import numpy as np

WINDOW = 300
"""Percentiles are those of so many newest samples."""


class Measurements:
    """Counts and times, added to by many threads and looked at now and then."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._looked = monotonic()
        self._samples: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def count(self, name: str, number: int = 1) -> None:
        """Something happened, ``number`` times."""
        with self._lock:
            self._counts[name] += number

    def time(self, **milliseconds: float) -> None:
        """Something took, or was old, so many ms."""
        with self._lock:
            for name, value in milliseconds.items():
                self._samples[name].append(value)

    def counts(self) -> Mapping[str, int]:
        """All counts since the start."""
        with self._lock:
            return dict(self._counts)

    def rates(self) -> tuple[Mapping[str, float], Mapping[str, int]]:
        """Of each count, times a second and times since the last call of this."""
        with self._lock:
            now = monotonic()
            new = {name: number - self._before[name] for name, number in self._counts.items()}
            span = max(now - self._looked, 1e-3)
            self._before, self._looked = Counter(self._counts), now
            return {name: number / span for name, number in new.items()}, new

    def percentiles(self, name: str, *ranks: float) -> tuple[float, ...]:
        """Percentiles (0 to 100) of the newest samples, ms; nothing where there is no sample."""
        with self._lock:
            samples = list(self._samples[name])
        return tuple(np.percentile(samples, ranks).tolist()) if samples else ()
