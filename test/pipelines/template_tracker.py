"""A little real tracker and a little synthetic world, so that pipelines can be tested without a model."""

from dataclasses import dataclass

import cv2
import numpy as np

from deep_tracking_ros.geometry.boxes import clip
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import Frame

WIDTH, HEIGHT = 160, 120
PATCH = 20  # px, side of the objects
STEP = 40_000_000  # ns between frames


@dataclass(eq=False)
class TemplateTarget(Target):
    template: np.ndarray


class TemplateTracker(SingleObjectTracker):
    """Normalised cross-correlation of the first view, searched in three box sizes around the last place."""

    def __init__(self) -> None:
        self.card = ModelCard(
            name="template", task="single_object", architecture="template", thresholds={"tracked": 0.8, "lost": 0.6}
        )
        self.engines = ()
        self.batches: list[int] = []  # number of targets of each call of track
        self.image = None  # of the last call of track

    def start(self, image, boxes):
        return [TemplateTarget(np.float32(box), self._cut(image, box)[0]) for box in np.asarray(boxes)]

    def track(self, image, targets):
        self.batches.append(len(targets))
        self.image = image
        return [self._find(image, target) for target in targets]

    def _find(self, image, target):
        size = target.box[2:] - target.box[:2]
        area, corner = self._cut(image, np.concatenate([target.box[:2] - size, target.box[2:] + size]))
        h, w = target.template.shape[:2]
        if area.shape[0] < h or area.shape[1] < w:
            return Estimate(target.box, 0.0)
        match = cv2.matchTemplate(area, target.template, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        start = np.float32([x, y]) + corner - np.float32(0.5)
        box = np.concatenate([start, start + np.float32([w, h])])
        if score > 0.5:
            target.box = box
        return Estimate(box, float(np.clip(score, 0, 1)))

    def _cut(self, image, box):
        x0, y0, x1, y1 = np.rint(clip(box, image.shape[1], image.shape[0]) + 0.5).astype(int)
        return image[y0:y1, x0:x1], np.array([x0, y0], np.float32)


def texture(seed, height, width, low=0, high=255):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), np.uint8, endpoint=True)


def picture(*centres, width=WIDTH, height=HEIGHT):
    """Objects 0, 1, ... with their own textures at these pixels (None = not there), on a dim background."""
    image = texture(99, height, width, 90, 120)
    for i, centre in enumerate(centres):
        if centre is not None:
            x, y = centre[0] - PATCH // 2, centre[1] - PATCH // 2
            image[y : y + PATCH, x : x + PATCH] = texture(i, PATCH, PATCH)
    return image


def box_at(x, y):
    """Box of the object drawn by `picture` at pixel (x, y)."""
    left, top = x - PATCH // 2 - 0.5, y - PATCH // 2 - 0.5
    return np.array([left, top, left + PATCH, top + PATCH], np.float32)


def frame(index, *centres, offset=10 * 10**9, **size):
    return Frame(picture(*centres, **size), offset + index * STEP, "camera")
