"""What a process holds, read from /proc, and whether it grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """What a process holds at a moment."""

    rss_mb: float
    threads: int
    files: int  # open file descriptors

    @classmethod
    def of(cls, pid: int) -> Resources:
        """Of a process of this user. Raises `OSError` when it has ended."""
        folder = Path(f"/proc/{pid}")
        fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        rss = int(fields["VmRSS"].split()[0]) * 1024 / 1e6
        return cls(rss, int(fields["Threads"]), len(list((folder / "fd").iterdir())))


def growth(values: Sequence[float]) -> float:
    """Median of the last third of a series less that of its first third: what stays, without peaks that pass."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[:third])
