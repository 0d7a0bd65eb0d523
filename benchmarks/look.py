"""A tracker stopped in the middle of a clip, and how to draw what it sees; for the figures of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import clip
from deep_tracking_ros.geometry.boxes import xywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, image_to_crop

LARGEST = 150_000  # bytes of a picture
AROUND = 1.7
"""Sides of what a panel shows, in the target's longer side."""

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
        return [
            np.asarray(cv2.resize(one, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA), np.uint8)
            for one in read
        ]

    @property
    def start(self) -> NDArray[np.float32]:
        return np.asarray(xywh_to_xyxy(np.array([self.box]))[0] - 0.5, np.float32)


class Look:
    """A tracker that has followed a scene up to its last frame but one, and what it sees in the last one."""

    def __init__(self, tracker: Any, scene: Scene) -> None:
        images = scene.images()
        self.tracker, self.first, self.image, self.start = tracker, images[0], images[-1], scene.start
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
    def here(self) -> NDArray[np.float32]:
        """Where the target was an image before, in px of the search crop."""
        return self.in_crop(self.before)

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


def show(axes: Axes, image: Image, title: str, around: Any = None) -> None:
    """A picture (H, W, 3) BGR, the whole or what lies around a box of it."""
    axes.imshow(image[..., ::-1], interpolation="bilinear")
    axes.set_title(title, fontsize=9)
    axes.axis("off")
    if around is not None:
        zoom(axes, image, around)


def zoom(axes: Axes, image: Image, box: Any) -> None:
    """Show a square around a box of the picture, moved so that as much of it as can be lies in the picture."""
    x, y, w, h = (float(v) for v in xyxy_to_cxcywh(np.asarray(box, np.float32)[None])[0])
    half = AROUND * max(w, h) / 2
    for middle, length, limit in ((x, image.shape[1], axes.set_xlim), (y, image.shape[0], axes.set_ylim)):
        middle = min(max(middle, half), length - half) if length > 2 * half else length / 2
        limit(middle - half, middle + half)
    axes.invert_yaxis()


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


def save(figure: Any, path: Path) -> int:
    """Write a figure with as many colours as a small file allows; the bytes that it takes."""
    from PIL import Image as Pictures

    raw = BytesIO()
    figure.savefig(raw, dpi=100, format="png")
    picture = Pictures.open(raw).convert("RGB")
    for colours in (256, 128, 96, 64, 48):
        small = BytesIO()
        palette = picture.quantize(colours)
        picture.quantize(palette=palette, dither=Pictures.Dither.FLOYDSTEINBERG).save(small, "PNG", optimize=True)
        if small.tell() <= LARGEST:
            break
    path.write_bytes(small.getvalue())
    return small.tell()
