"""Figures of what the lecture claims, one function a claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"held": "#009E73", "jumped": "#D55E00", "lost": "#999999", "left": "#999999", "sure": "#D55E00"}


def distractor_plot(
    generated: Mapping[str, Mapping[str, Mapping[str, float]]], real: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Draw where trackers end after a look-alike passed, and how often they leave their target in real sequences.

    Args:
        generated: by likeness, then by tracker: shares 'held', 'jumped' and 'lost', and 'runs'.
        real: by tracker: shares 'left' and 'sure', and 'runs'; may be empty.
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    models = list(next(iter(generated.values())))
    columns = len(generated) + bool(real)
    figure = Figure(figsize=(3.4 * columns + 1, 1.6 + 0.36 * len(models)), layout="constrained")
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    rows = np.arange(len(models))[::-1]
    for axes, (likeness, by_model) in zip(panels, generated.items(), strict=False):
        left = np.zeros(len(models))
        for kind in ("held", "jumped", "lost"):
            values = np.array([by_model[model][kind] for model in models])
            axes.barh(rows, values, 0.7, left=left, color=COLOURS[kind], label=kind)
            left += values
        runs = by_model[models[0]]["runs"]
        axes.set(xlim=(0, 1), title=f"{likeness} crosses ({runs:.0f} runs)", xlabel="Share of runs")
    panels[0].set_yticks(rows, models)
    if real:
        axes = panels[-1]
        left_ = np.array([real[model]["left"] for model in models])
        sure = np.array([real[model]["sure"] for model in models])
        axes.barh(rows, left_, 0.7, color=COLOURS["left"], label="left the target")
        axes.barh(rows, sure, 0.7, color=COLOURS["sure"], label="with a score above 0.5")
        runs = real[models[0]]["runs"]
        axes.set(xlim=(0, 1), title=f"real look-alikes ({runs:.0f} runs)", xlabel="Share of runs")
    # one legend of all panels, a row for each kind of data
    entries = [panel.get_legend_handles_labels() for panel in (panels[0], *(panels[-1:] if real else ()))]
    handles, labels = ([one for entry in entries for one in entry[part]] for part in (0, 1))
    figure.legend(handles, labels, ncols=len(labels), fontsize="small", loc="outside lower center")
    figure.savefig(path, dpi=150)


def motion_plot(curves: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Draw success of one step against displacement; dashed where the cosine window is off.

    Args:
        curves: by kind of data, then by tracker (``NAME, no window`` for one without it): lists 'displacement',
            'success' and 'error' (standard error).
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (kind, by_model) in zip(panels, curves.items(), strict=True):
        bases = list(dict.fromkeys(name.partition(",")[0] for name in by_model))
        for name, curve in by_model.items():
            base, _, variant = name.partition(",")
            axes.errorbar(
                curve["displacement"], curve["success"], curve["error"], label=name,
                color=f"C{bases.index(base) % 10}", linestyle="--" if variant else "-", marker="o", markersize=3,
                elinewidth=0.7, linewidth=1.3,
            )  # fmt: skip
        axes.set(title=kind, xlabel="Displacement in one step, target sizes", ylim=(0, 1.02), xlim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("Share of steps with IoU > 0.5")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=4, fontsize="small", loc="outside lower center")
    figure.savefig(path, dpi=150)


def refinement_plot(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw how trackers improve boxes that are a little off.

    Args:
        results: by tracker: 'after' (mean IoU at the beginning and after each look), 'start' and 'by_start' (mean IoU
            before and after one look, by IoU before; None where there was none).
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    first, second = figure.subplots(1, 2)
    for name, one in results.items():
        first.plot(range(len(one["after"])), one["after"], marker="o", label=name)
        pairs = [(x, y) for x, y in zip(one["start"], one["by_start"], strict=True) if x is not None]
        second.plot(*zip(*pairs, strict=True), marker="o")
    first.set(xlabel="Looks at the same frame", ylabel="Mean IoU with the truth", xticks=range(len(one["after"])))
    second.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    second.set(xlabel="IoU of the jittered box", ylabel="IoU after one look", xlim=(0.2, 1), ylim=(0.2, 1))
    for axes in (first, second):
        axes.grid(alpha=0.3)
    figure.legend(ncols=4, fontsize="small", loc="outside lower center")
    figure.savefig(path, dpi=150)


def optimiser_plot(values: Mapping[str, Any], path: Path) -> None:
    """Draw loss against processor time: medians with quartiles.

    Args:
        values: 'milliseconds' (n,); 'gauss_newton', 'gradient_best_rate' and 'gradient_one_rate', each (3, n)
            quartiles of the loss as share of the first one; 'rate' of the last.
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="Processor time, ms", ylabel="Loss, share of that at the beginning", yscale="log")
    labels = {
        "gauss_newton": "Gauss-Newton, conjugate gradients",
        "gradient_best_rate": "gradient descent, best rate for each clip",
        "gradient_one_rate": f"gradient descent, best rate for all ({values['rate']:g})",
    }
    for number, (name, label) in enumerate(labels.items()):
        low, median, high = (np.asarray(row) for row in values[name])
        axes.fill_between(values["milliseconds"], low, high, color=f"C{number}", alpha=0.2, step="post", linewidth=0)
        axes.step(values["milliseconds"], median, color=f"C{number}", label=label, where="post")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def training_plot(logs: Mapping[str, Mapping[str, Sequence[float]]], figures: Sequence[str], path: Path) -> None:
    """Draw figures of several trainings over the samples seen, smoothed over a twentieth of each.

    Args:
        logs: by run: 'samples' and each figure, of one length.
        figures: names of those to draw, one panel each.
        path: picture to write; the format is that of its ending (png, pdf, svg).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(figures), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(figures), squeeze=False)[0], figures, strict=True):
        for number, (run, log) in enumerate(logs.items()):
            values = np.asarray(log[name], np.float64)
            width = max(len(values) // 20, 1)
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            axes.plot(log["samples"], values, color=f"C{number}", alpha=0.2, linewidth=0.8)
            axes.plot(log["samples"][width - 1 :], smooth, color=f"C{number}", label=run)
        axes.set(xlabel="Samples", title=name)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
