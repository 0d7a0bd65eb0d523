"""Order of files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths with the numbers in their names by value: frame 2 before frame 10, with leading zeros or without."""
    return sorted(paths, key=lambda path: (_words(str(path)), str(path)))


def _words(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
