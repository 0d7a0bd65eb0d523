"""An online classifier beside a tracker: views of the first image, scores of every search crop, what is learnt of it.

M. Danelljan et al., "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019, sections 3.2 to 3.4. The network
that gives features runs in an engine; the classifier itself (`online_classifier`) is learnt in torch on the CPU.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.crops import crop
from deep_tracking_ros.single_object.parts.peaks import Localisation, PeakSettings, localise
from deep_tracking_ros.types import FloatArray

if TYPE_CHECKING:
    from deep_tracking_ros.single_object.parts.online_classifier import ClassifierSettings, ClassifierState

STRIDE = 16
FIRST = (STRIDE - 1) / 2
"""Crop px (pixel centres at integers) at which the first cell of the features lies."""
SHIFTS = ((0, 0), (2, -1), (-2, 1))
"""x and y of the moved views of the first image, in cells."""


def views(late: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Moved and mirrored views of targets in the first image, made of one run of the network for each.

    The paper (section 3.4, first frame) turns, moves and blurs the picture; moving and mirroring its features instead
    costs no run of the backbone, so that a target can be added while others are followed.

    Args:
        late: (T, C, H, W) features, the targets in their middle.

    Returns:
        (T, A, C, H, W) views, and (A, 2) x and y of the target in them, cells.
    """
    rows, columns = late.shape[2:]
    middle = np.array([(columns - 1) / 2, (rows - 1) / 2], np.float32)
    most = int(np.abs(SHIFTS).max())
    pad = (most, most)
    made, places = [], []
    for picture in (late, late[..., ::-1]):
        # the outermost cells are repeated: zeros would change the features' mean square
        wide = np.pad(picture, ((0, 0), (0, 0), pad, pad), mode="edge")
        for x, y in SHIFTS:
            made.append(wide[..., most - y : most - y + rows, most - x : most - x + columns])
            places.append(middle + np.array([x, y], np.float32))
    return np.stack(made, 1), np.stack(places)


def quick_classifier(update_every: int) -> ClassifierSettings:
    """A classifier that starts in about the time of an image, not in that of ten as with the paper's steps.

    On held-out clips ATOM's AUC was 0.688 with one Newton step of 6, 0.690 with 2 of 5, 0.676 with 3 of 6.
    """
    from deep_tracking_ros.single_object.parts.online_classifier import ClassifierSettings

    return ClassifierSettings(update_every=update_every, start_newton_steps=1, start_conjugate_steps=6)


class OnlineTargets:
    """Starts, scores and updates the classifiers of any number of targets; what is known of each is a value."""

    def __init__(
        self,
        features: Callable[[NDArray[np.uint8]], FloatArray],
        side: int,
        settings: ClassifierSettings,
        peaks: PeakSettings,
    ) -> None:
        """Args: features: crops (N, S, S, 3) to (N, C, S / 16, S / 16). side: of the crops, px."""
        self.features, self.side, self.settings, self.peaks = features, side, settings, peaks

    def start(self, image: NDArray[np.uint8], states: FloatArray, sides: FloatArray) -> list[ClassifierState]:
        """Learn targets (T, 4) cxcywh px from crops of the first image that show ``sides`` (T, 2) px."""
        import torch

        from deep_tracking_ros.single_object.parts import online_classifier

        late, centres = views(self.features(crop(image, states[:, :2], sides, self.side)))
        centres = np.tile(centres, (len(late), 1, 1))
        sizes = states[:, 2:] * (self.side / sides) / STRIDE
        made = online_classifier.start(
            torch.from_numpy(late), torch.from_numpy(centres), torch.from_numpy(sizes.astype(np.float32)),
            self.settings,
        )  # fmt: skip
        # Updates are spread over images by where targets are, not by which came first: one does not know of others.
        return [
            replace(one, phase=zlib.crc32(state.tobytes()) % self.settings.update_every)
            for one, state in zip(made, states, strict=True)
        ]

    def score(self, states: Sequence[ClassifierState], late: FloatArray) -> FloatArray:
        """Scores (T, H', W') of features (T, C, H, W); `at_cells` says what they are at the features' own cells."""
        import torch

        from deep_tracking_ros.single_object.parts import online_classifier

        with torch.no_grad():
            full, first = self._full(late)
            scores = online_classifier.score(states, torch.from_numpy(full), self.settings).numpy()
        count = late.shape[2] + 1 - self.settings.kernel % 2
        return np.asarray(scores[:, first : first + count, first : first + count], np.float32)

    def localise(self, scores: FloatArray, sizes: FloatArray) -> list[Localisation]:
        """Judge peaks; targets are expected in the middle and have ``sizes`` (T, 2) in crop px. Places in crop px."""
        middle = np.full((len(scores), 2), (scores.shape[1] - 1) / 2, np.float32)
        found = localise(scores, middle, sizes / STRIDE, self.peaks)
        return [
            Localisation(self._to_px(one.place), one.score, one.verdict, self._to_px(one.second), one.second_score)
            for one in found
        ]

    def update(
        self,
        states: Sequence[ClassifierState],
        late: FloatArray,
        found: Sequence[Localisation],
        boxes: FloatArray,
    ) -> list[ClassifierState]:
        """Learn from an image in which targets are at boxes (T, 4) cxcywh crop px."""
        import torch

        from deep_tracking_ros.single_object.parts import online_classifier

        full, first = self._full(late)
        centres = np.ascontiguousarray(self.to_cells(boxes[:, :2]) + np.float32(first), np.float32)
        return online_classifier.update(
            states, torch.from_numpy(full), found, torch.from_numpy(centres),
            torch.from_numpy((boxes[:, 2:] / STRIDE).astype(np.float32)), self.settings,
        )  # fmt: skip

    def _full(self, late: FloatArray) -> tuple[FloatArray, int]:
        """Features of near crops in the middle of a map of the usual size, and the cell at which theirs begin."""
        missing = self.side // STRIDE - late.shape[2]
        if not missing:
            return late, 0
        before = missing // 2
        # the outermost cells are repeated: zeros would change the features' mean square
        pad = (before, missing - before)
        return np.pad(late, ((0, 0), (0, 0), pad, pad), mode="edge"), before

    def at_cells(self, scores: FloatArray) -> FloatArray:
        """(T, H, W) scores at the cells of the features: an even kernel looks at places between them."""
        if self.settings.kernel % 2:
            return scores
        four = scores[:, :-1, :-1] + scores[:, 1:, :-1] + scores[:, :-1, 1:] + scores[:, 1:, 1:]
        return np.asarray(four / 4, np.float32)

    @staticmethod
    def to_cells(places: FloatArray) -> FloatArray:
        """Places (..., 2) from crop px to cells of the features."""
        return np.asarray((places - np.float32(FIRST)) / np.float32(STRIDE), np.float32)

    def _to_px(self, place: tuple[float, float]) -> tuple[float, float]:
        first = -0.5 if self.settings.kernel % 2 == 0 else 0.0
        return (place[0] + first) * STRIDE + FIRST, (place[1] + first) * STRIDE + FIRST
