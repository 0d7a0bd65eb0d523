"""Numbers for class labels, so that arrays can hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


class Labels:
    """The labels in use and their numbers, 0, 1, ...

    Detectors may make up labels without end (an open vocabulary, a name with a counter in it), so a number that no
    track has any more is given to the next new label: the table is never longer than labels were in use at once.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        """By number."""
        self._numbers: dict[str, int] = {}

    def number(self, labels: Sequence[str], in_use: Indices) -> Indices:
        """(N,) numbers of labels; the numbers ``in_use`` (of tracks, any shape) keep their labels.

        New labels are numbered in alphabetical order, so that the order of detections does not matter.
        """
        if new := sorted(set(labels) - self._numbers.keys()):
            kept = {*labels, *(self.names[number] for number in np.unique(in_use))}
            self._numbers = {name: number for name, number in self._numbers.items() if name in kept}
            free = sorted(set(range(len(self.names))) - set(self._numbers.values()))
            for name in new:
                number = free.pop(0) if free else len(self.names)
                self.names[number : number + 1] = [name]
                self._numbers[name] = number
        return np.array([self._numbers[label] for label in labels], np.intp)
