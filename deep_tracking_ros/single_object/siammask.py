"""SiamMask: follow an object and say which pixels are its own; the box comes from the mask.

Q. Wang, L. Zhang, L. Bertinetto, W. Hu, P. Torr, "Fast Online Object Tracking and Segmentation: A Unifying Approach",
CVPR 2019. A second look, a search crop that shows less at twice the scale, makes the mask finer; `segment` gives that
look alone around any box, which is how the mask follows another tracker (`refined`), as Alpha-Refine does (B. Yan et
al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import iou, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, image_to_crop
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import sigmoid
from deep_tracking_ros.single_object.parts.box_selection import SelectionSettings
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    STRIDE,
    Chosen,
    Offers,
    SiameseParameters,
    SiameseTarget,
    SiameseTracker,
    keep,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate
from deep_tracking_ros.types import FloatArray, Mask

FINE = 4
"""Crop pixels per cell of the mask."""


@dataclass(frozen=True)
class SiamMaskSettings(SelectionSettings):
    """``tracking`` of the card."""

    # where search crops show two templates, more than 2 would cut long objects off
    zoom: float = parameter(2.0, "Scale of the second look, for the mask; 1 = the first look's.", minimum=1, maximum=2)
    mask_threshold: float = parameter(0.5, "Probability from which a pixel is the object's.", minimum=0, maximum=1)
    box_from_mask: float = parameter(0.5, "Share of the mask's box in the box, where both agree.", minimum=0, maximum=1)
    agreement: float = parameter(0.5, "Least IoU of the mask's box and the regressed one.", minimum=0, maximum=1)


def networks(model: Model) -> tuple[Network, ...]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(SiameseParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.siammask_network import SiamMaskHead

        return SiamMaskHead(p.channels, p.template)

    return siamese_networks(
        "siammask", model, p, head,
        {"kernels": ((p.template // STRIDE) ** 2, p.channels), "mean": (p.channels, 1, 1)},
        lambda cells: {
            "logits": (cells, cells), "boxes": (4, cells, cells),
            "mask": (cells * STRIDE // FINE, cells * STRIDE // FINE),
        },
    )  # fmt: skip


class SiamMaskTracker(SiameseTracker):
    """Follows targets by the two networks of `networks`; estimates carry the mask."""

    Settings = SiamMaskSettings
    settings: SiamMaskSettings
    networks = staticmethod(networks)

    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        logits = outputs["logits"].reshape(len(outputs["logits"]), 1, -1)
        return Offers(sigmoid(logits), outputs["boxes"].reshape(-1, 4, *logits.shape[1:]), logits)

    def take(
        self,
        image: NDArray[np.uint8],
        targets: Sequence[SiameseTarget],
        chosen: Chosen,
        outputs: Mapping[str, FloatArray],
    ) -> list[Estimate]:
        if self._zoom(chosen.side) > 1:
            boxes, masks = self.segment(image, targets, chosen.boxes, chosen.side)
        else:
            boxes, masks = self._masks(image, chosen.boxes, outputs["mask"], chosen.centres, chosen.sides, chosen.side)
        share = np.float32(self.settings.box_from_mask)
        estimates = super().take(
            image, targets, replace(chosen, boxes=chosen.boxes + share * (boxes - chosen.boxes)), {}
        )
        return [replace(estimate, mask=mask) for estimate, mask in zip(estimates, masks, strict=True)]

    def segment(
        self, image: NDArray[np.uint8], targets: Sequence[SiameseTarget], boxes: FloatArray, side: int
    ) -> tuple[FloatArray, list[Mask | None]]:
        """Masks of targets whose boxes in this image are known, in one batch; nothing of the targets changes.

        Args:
            image: (H, W, 3) uint8 BGR.
            targets: what `start` returned.
            boxes: (N, 4) xyxy px, from any tracker.
            side: of the crops, px.

        Returns:
            The masks' boxes (N, 4), those given where a mask does not agree, and the masks, None there.
        """
        around, _ = keep(image, targets, boxes, np.zeros(len(boxes), np.float32))
        centres, sides = self.search_windows(xyxy_to_cxcywh(around), side, self._zoom(side))
        found = self.search(targets, crop(image, centres, sides, side))
        return self._masks(image, around, found["mask"], centres, sides, side)

    def _zoom(self, side: int) -> float:
        """Scale at which masks are looked for in crops of ``side`` px: near crops would cut objects off at another."""
        return self.settings.zoom if side == self.parameters.search else 1.0

    def _masks(
        self,
        image: NDArray[np.uint8],
        boxes: FloatArray,
        logits: FloatArray,
        centres: FloatArray,
        sides: FloatArray,
        crop_side: int,
    ) -> tuple[FloatArray, list[Mask | None]]:
        level = float(np.log(self.settings.mask_threshold + 1e-6) - np.log(1 - self.settings.mask_threshold + 1e-6))
        refined, masks = boxes.copy(), cast("list[Mask | None]", [])
        for i, box in enumerate(boxes):
            mask = part_on_box(logits[i] - level, box, centres[i], sides[i], crop_side, image.shape[:2])
            own = None if mask is None else mask_box(mask)
            agrees = own is not None and bool(iou(own, box) >= self.settings.agreement)
            masks.append(mask if agrees else None)
            if agrees and own is not None:
                refined[i] = own
        return refined, masks


def part_on_box(
    logits: FloatArray, box: FloatArray, centre: FloatArray, sides: FloatArray, crop_side: int, shape: tuple[int, ...]
) -> Mask | None:
    """The object's pixels in the image, from a mask of a crop: the parts that touch its box, None where none does.

    Args:
        logits: (S, S) above 0 on the object.
        box: (4,) xyxy px, of the object in the image.
        centre: (2,) of the crop, image px.
        sides: (2,) of the crop, image px.
        crop_side: of the crop as the network saw it, px.
        shape: rows and columns of the image.
    """
    size = box[2:] - box[:2]
    low = np.maximum(np.floor(box[:2] - 0.5 * size), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + 0.5 * size), [shape[1] - 1, shape[0] - 1]).astype(int) + 1
    if (high - low < 1).any():
        return None
    # pixels of this part of the image, as cells of the mask
    step = crop_side / logits.shape[0]
    corner = (image_to_crop(low, centre, sides, crop_side) - (step - 1) / 2) / step
    scale = crop_side / (sides * step)
    matrix = np.array([[scale[0], 0, corner[0]], [0, scale[1], corner[1]]])
    width, height = (high - low).tolist()
    local = cv2.warpAffine(
        logits, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(-10.0,),
    )  # fmt: skip
    count, labels, stats, _ = cv2.connectedComponentsWithStats((local > 0).astype(np.uint8))
    if count < 2:
        return None
    inner = np.concatenate([np.maximum(box[:2] - low, 0), np.maximum(box[2:] - low, 0)]).round().astype(int)
    inside = np.bincount(labels[inner[1] : inner[3] + 1, inner[0] : inner[2] + 1].ravel(), minlength=count)
    area = stats[:, cv2.CC_STAT_AREA]
    # what lies mostly beside the box is something else; of the rest, specks are noise
    part = (inside > 0.5 * area) & (area > 0.05 * area[1:].max())
    part[0] = False
    data = np.where(part[labels], np.uint8(255), np.uint8(0))
    return Mask(int(low[0]), int(low[1]), data) if part.any() else None


def mask_box(mask: Mask) -> FloatArray | None:
    """(4,) xyxy px of a mask's outermost pixels; None of an empty one."""
    x, y, w, h = cv2.boundingRect(mask.data)
    if not w or not h:
        return None
    left, top = mask.x + x - 0.5, mask.y + y - 0.5
    return np.array([left, top, left + w, top + h], np.float32)
