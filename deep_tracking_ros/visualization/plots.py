"""Plots of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike


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
