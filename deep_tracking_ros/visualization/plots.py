"""Plots of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.types import FloatArray


def success_plot(curves: Mapping[str, ArrayLike], thresholds: ArrayLike, path: Path, title: str = "") -> None:
    """Draw success curves as in the Object Tracking Benchmark, the best tracker first in the legend.

    Args:
        curves: (n,) share of frames with an overlap above each threshold, by the tracker's name.
        thresholds: (n,) overlaps.
        path: picture to write; the format is that of its ending (png, pdf, svg).
        title: heading.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1), xlabel="Overlap threshold", ylabel="Success rate", title=title)
    axes.grid(alpha=0.3)
    means = {name: float(np.mean(np.asarray(curve))) for name, curve in curves.items()}
    for name in sorted(curves, key=lambda name: -means[name]):
        axes.plot(np.asarray(thresholds), np.asarray(curves[name]), label=f"{name} [{means[name]:.3f}]")
    axes.legend(title="AUC")
    figure.savefig(path, dpi=150)


class TrustedScores(Protocol):
    """What `reliability_plot` draws; ``evaluation.reliability.Reliability`` is one."""

    @property
    def stated(self) -> FloatArray: ...  # (B,) mean score of each interval, nan where it is empty
    @property
    def seen(self) -> FloatArray: ...  # (B,) share of successes
    @property
    def frames(self) -> NDArray[np.intp]: ...  # (B,)
    @property
    def absent(self) -> NDArray[np.intp]: ...  # (B,) those of them without the target
    @property
    def error(self) -> float: ...  # expected calibration error


def reliability_plot(scores: Mapping[str, TrustedScores], path: Path) -> None:
    """Draw reliability diagrams: stated against seen share of success, and below how many frames are behind it.

    Trackers without scores are left out. Points above the diagonal: better than stated.

    Args:
        scores: by the tracker's name.
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    shown = {name: one for name, one in scores.items() if one.frames.sum()}
    columns = min(max(len(shown), 1), 4)
    rows = -(-max(len(shown), 1) // columns)
    figure = Figure(figsize=(2.9 * columns, 3.9 * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for index, (name, one) in enumerate(shown.items()):
        row, column = divmod(index, columns)
        edges = np.linspace(0, 1, len(one.frames) + 1)
        above = figure.add_subplot(
            grid[2 * row, column], xlim=(0, 1), ylim=(0, 1), title=f"{name}: ECE {one.error:.3f}"
        )
        above.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        # points with few frames are small: they move by chance
        sizes = 8 + 120 * np.sqrt(one.frames / one.frames.max())
        above.vlines(one.stated, one.stated, one.seen, color="C3", linewidth=1)
        above.scatter(one.stated, one.seen, s=sizes, color="C0", zorder=3, clip_on=False)
        above.grid(alpha=0.3)
        below = figure.add_subplot(grid[2 * row + 1, column], xlim=(0, 1), xlabel="Stated probability")
        below.bar(edges[:-1], one.frames, 1 / len(one.frames), align="edge", color="C0", label="all")
        below.bar(edges[:-1], one.absent, 1 / len(one.frames), align="edge", color="C1", label="out of view")
        below.set(yscale="log", ylim=(0.8, 2 * max(int(one.frames.max()), 5)))
        if column == 0:
            above.set_ylabel("Share with IoU > 0.5")
            below.set_ylabel("Frames")
        if index == 0:
            below.legend(fontsize="x-small")
    figure.savefig(path, dpi=150)
