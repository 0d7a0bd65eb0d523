"""Link objects followed in space with objects followed in a camera's image, and weigh both sensors' word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError
from deep_tracking_ros.geometry.poses import inverse
from deep_tracking_ros.multi_object.fusion import FusionSettings, fuse, outlines
from deep_tracking_ros.multi_object.tracker_3d import log_odds, probability
from deep_tracking_ros.parameters import parameter, part
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.ego_motion import ByTransforms, read_mounting
from deep_tracking_ros.pipelines.pipeline import Output, Pipeline
from deep_tracking_ros.pipelines.turns import Turn, Turns
from deep_tracking_ros.types import (
    Camera,
    Matrix,
    State,
    StaticTransforms,
    TrackedBox,
    TrackedBox3D,
    TrackedBoxes,
    TrackedBoxes3D,
    Transforms,
    nanoseconds,
    seconds,
)

KEPT = 50
"""Results of the camera's tracker that are kept."""
SEEN = (State.TRACKED, State.UNCERTAIN, State.TENTATIVE, State.CONFIRMED)
"""States of tracks in the image that say that something is there."""


@dataclass(frozen=True)
class FusionParameters:
    """Parameters of `FusionPipeline`."""

    camera_pose: str = parameter(
        "",
        "Pose of the camera's optical frame in the frame of the boxes in space, 'x y z roll pitch yaw' (m, rad); empty "
        "= from transforms, see camera_frame.",
    )
    camera_frame: str = parameter(
        "", "Without camera_pose: optical frame of the camera, to which transforms lead from the boxes in space."
    )
    overlap: float = parameter(
        0.3, "Least IoU of an object's outline in the image and a box there that are the same.", minimum=0.01,
        maximum=1,
    )  # fmt: skip
    classes: str = parameter(
        "person, pedestrian; car, van, truck, bus, tram, train, vehicle",
        "Labels that may be of the same object, with a semicolon between those that may not: a person is not linked "
        "with a car. Labels that are not named go with all.",
    )
    camera_recall: float = parameter(
        0.9, "Probability that the camera's tracker follows an object that it can see.", minimum=0, maximum=0.999
    )
    camera_precision: float = parameter(
        0.9, "Probability that what the camera's tracker follows is an object; its scores count no more than this.",
        minimum=0.5, maximum=0.999,
    )  # fmt: skip
    least_height: float = parameter(
        25.0, "Lower outlines are too small for the camera to be asked.", unit="px", minimum=0, maximum=10000
    )
    max_apart: float = parameter(
        0.1, "Boxes in the image further from the time of those in space are of no use.", unit="s", minimum=0.001,
        maximum=10,
    )  # fmt: skip
    image_wait: float = parameter(
        0.1, "Boxes in space wait so long, in stamps, for those in the image of their time.", unit="s", minimum=0,
        maximum=10,
    )  # fmt: skip
    reorder_tolerance: float = timing.reorder_tolerance("Boxes")
    max_gap: float = timing.max_gap("results in space")


class FusionPipeline(Pipeline):
    """Boxes in space in, the same boxes out with what the camera says of them: one result for each.

    An object whose outline overlaps a track in the image gets the id of that (``image_id``), its label and a score of
    both sensors; ids, poses and all else stay as they are. Objects are linked by where they are; of what they are only
    ``classes`` says who is not whom, and the camera has the last word. Boxes in the image are moved along their
    velocity to the time that those in space hold for (``valid_at``). Where nothing is known of the camera at that time,
    boxes pass as they came, and `warnings` says why. Epochs are those of the boxes in space.
    """

    name = "fusion"
    Parameters = FusionParameters
    inputs: ClassVar[Mapping[str, type]] = {
        "boxes_3d": TrackedBoxes3D,
        "boxes": TrackedBoxes,
        "camera_info": Camera,
        "tf": Transforms,
        "tf_static": StaticTransforms,
    }
    outputs: ClassVar[Mapping[str, type]] = {"boxes": TrackedBoxes3D}
    commands: ClassVar[Mapping[str, type]] = {}
    remembered = frozenset({"boxes", "camera_info", "tf", "tf_static"})

    def __init__(self, parameters: FusionParameters) -> None:
        """Raises `InvalidRequestError` where the camera's place is told in no way or a wrong one, or classes are."""
        self.parameters: FusionParameters = parameters
        try:
            pose = read_mounting(parameters.camera_pose)
        except InvalidRequestError as error:
            raise InvalidRequestError(str(error).replace("mounting", "camera_pose", 1)) from None
        if pose is None and not parameters.camera_frame:
            raise InvalidRequestError(
                "it is not known where the camera is: set camera_pose to 'x y z roll pitch yaw' of its optical frame "
                "in that of the boxes in space, or camera_frame to its name, to which transforms lead"
            )
        self._place = None if pose is None else inverse(pose)
        self._transforms = ByTransforms(parameters.camera_frame, nanoseconds(0.5), "camera_frame", "the boxes in space")
        if self._place is not None:
            self.inputs = {k: v for k, v in self.inputs.items() if not k.startswith("tf")}  # type: ignore[misc]
        self._settings = part(FusionSettings, parameters)
        self._kinds = read_classes(parameters.classes)
        self.turns: Turns[TrackedBoxes3D] = Turns(0.0, parameters.reorder_tolerance, parameters.max_gap)
        self._due: deque[Turn[TrackedBoxes3D]] = deque()
        self._images: deque[TrackedBoxes] = deque(maxlen=KEPT)
        self._image_jumps = self._jumps_known = 0  # jumps of boxes in the image: so far, and at the last one in space
        self._camera: Camera | None = None
        self._frames = self._fused = self._linked = self._unusable = 0
        self._problem = self._last_problem = ""

    def remember(self, port: str, item: Any) -> None:
        """Keep what the camera says; may be called from another thread."""
        if port == "boxes":
            self._take_image(item)
        elif port == "camera_info":
            self._camera = item
        elif port != "boxes_3d":
            self._transforms.take(port, item)

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take boxes in space; those in the image, which `remember` keeps, let go what waits for them."""
        outputs: list[Output] = []
        if port == "boxes_3d":
            for turn in self.turns.take(item):
                if turn.jump:
                    outputs += self._results()  # what waits is of before the jump
                    self._drop_images_of_before(turn.item.stamp)
                self._due.append(turn)
        return (*outputs, *self._results())

    def reset(self, reason: str) -> None:
        """As after a time jump; what waits is dropped."""
        self._due.clear()
        self._images.clear()
        self._transforms.clear()
        self.turns.reset()

    def status(self) -> Mapping[str, str | int | float]:
        """Counts; may be called from another thread. ``linked`` are those of the newest result."""
        return {
            "frames": self._frames,
            "fused": self._fused,
            "linked": self._linked,
            "unusable_boxes": self._unusable,
            **self.turns.status(),
            "waiting_for_image": len(self._due),
            "last_problem": self._last_problem,
        }

    def warnings(self) -> tuple[str, ...]:
        """See `Pipeline.warnings`: why the newest boxes passed as they came."""
        return (self._problem,) if self._problem else ()

    def _take_image(self, item: TrackedBoxes) -> None:
        """Keep boxes; after a jump those of before are dropped: when a bag begins again, so do stamps, but not ids."""
        last = self._images[-1] if self._images else item
        backwards = last.stamp - item.stamp > nanoseconds(self.parameters.reorder_tolerance)
        if backwards or (item.epoch, item.frame_id) != (last.epoch, last.frame_id):
            self._images.clear()
            self._image_jumps += 1
        self._images.append(item)

    def _drop_images_of_before(self, stamp: int) -> None:
        """Where boxes in space jump back to ``stamp`` before those in the image do, what is there is of before."""
        ahead = nanoseconds(self.parameters.max_apart + self.parameters.image_wait)
        if self._image_jumps == self._jumps_known and self._images and self._images[-1].stamp - stamp > ahead:
            self._images.clear()
        self._jumps_known = self._image_jumps

    def _results(self) -> Iterator[Output]:
        newest = self.turns.time.newest
        while self._due:
            turn, images = self._due[0], tuple(self._images)
            stamp = turn.item.stamp
            there = any(boxes.stamp >= stamp for boxes in images)
            comes = newest is not None and newest - stamp < nanoseconds(self.parameters.image_wait)
            if comes and not there and turn.epoch == self.turns.time.epoch:
                return
            self._due.popleft()
            self._frames += 1
            yield Output("boxes", self._with_camera(turn.item, images))

    def _with_camera(self, item: TrackedBoxes3D, images: tuple[TrackedBoxes, ...]) -> TrackedBoxes3D:
        try:
            camera, boxes, place = self._known(item, images)
        except DeepTrackingError as error:
            self._problem = self._last_problem = str(error)
            return item
        self._problem = ""
        dt = seconds(item.valid_at - boxes.valid_at)  # either may have been predicted by its tracker
        seen = [track for track in boxes.boxes if track.state in SEEN]
        tracks = [track for track in seen if _finite(track.box, track.velocity, track.score)]
        usable = [_finite(box.pose, box.size, box.score) for box in item.boxes]
        objects = [box for box, use in zip(item.boxes, usable, strict=True) if use]
        self._tell_of_unusable(len(item.boxes) - len(objects), len(seen) - len(tracks))
        there = np.array([_moved(track, dt) for track in tracks]).reshape(-1, 4)
        poses = np.array([box.pose for box in objects]).reshape(-1, 4, 4)
        sizes = np.array([box.size for box in objects]).reshape(-1, 3)
        outline, depth = outlines(poses, sizes, place, camera.matrix)
        scores = np.array([box.score for box in objects])
        found = fuse(
            outline,
            depth,
            log_odds(np.where(scores < 0, 0.5, scores)),
            undistorted(there, camera),
            np.array([track.score for track in tracks]),
            (camera.width, camera.height),
            self._settings,
            (self._numbers(objects), self._numbers(tracks)),
        )
        linked = [tracks[row] if row >= 0 else None for row in found.image_row]
        merged = probability(found.odds)
        self._fused += 1
        self._linked = sum(track is not None for track in linked)
        result = iter(
            replace(
                box,
                score=float(merged[row]),
                label=(track.label if track is not None else "") or box.label,
                image_id=track.id if track is not None else 0,
            )
            for row, (box, track) in enumerate(zip(objects, linked, strict=True))
        )
        whole = tuple(next(result) if use else box for box, use in zip(item.boxes, usable, strict=True))
        return replace(item, boxes=whole)

    def _numbers(self, boxes: Sequence[TrackedBox] | Sequence[TrackedBox3D]) -> NDArray[np.intp]:
        return np.array([self._kinds.get(box.label.lower(), -1) for box in boxes], np.intp)

    def _tell_of_unusable(self, in_space: int, in_image: int) -> None:
        if in_space or in_image:
            self._unusable += in_space + in_image
            self._problem = self._last_problem = (
                f"{in_space} boxes in space and {in_image} in the image are not finite: those in space pass as they "
                "came, and those in the image are left out"
            )

    def _known(self, item: TrackedBoxes3D, images: tuple[TrackedBoxes, ...]) -> tuple[Camera, TrackedBoxes, Matrix]:
        """Camera, its boxes nearest in time, and (4, 4) of the frame of the boxes in space in the camera's.

        Raises a `DeepTrackingError` for what is not known.
        """
        camera = self._camera
        if camera is None:
            raise InvalidRequestError("no camera_info came, so nothing is known of the camera; is it published?")
        nearest = min(images, key=lambda boxes: abs(boxes.stamp - item.stamp), default=None)
        limit = self.parameters.max_apart
        if nearest is None or abs(nearest.stamp - item.stamp) > nanoseconds(limit):
            apart = f"{seconds(abs(nearest.stamp - item.stamp)):.3f} s" if nearest else "none came"
            raise InvalidRequestError(
                f"no boxes in the image within {limit:g} s of those in space ({apart}); see max_apart and image_wait"
            )
        self._check_same_camera(nearest, camera)
        if self._place is not None:
            return camera, nearest, self._place
        return camera, nearest, self._transforms.pose(item.frame_id, item.stamp)[1]

    def _check_same_camera(self, boxes: TrackedBoxes, camera: Camera) -> None:
        """Raises `InvalidRequestError` where boxes and calibration say that they are of different images."""
        if _differ(boxes.frame_id, camera.frame_id):
            raise InvalidRequestError(
                f"the boxes in the image are in the frame {boxes.frame_id!r}, but camera_info is in "
                f"{camera.frame_id!r}: remap boxes and camera_info to the same camera"
            )
        if self._place is None and _differ(boxes.frame_id, self.parameters.camera_frame):
            raise InvalidRequestError(
                f"the boxes in the image are in the frame {boxes.frame_id!r}, but camera_frame is "
                f"{self.parameters.camera_frame!r}: set it to the frame of the boxes, or remap boxes to that camera; "
                "where the driver names a wrong frame, set camera_pose"
            )
        size = (boxes.width, boxes.height)
        if 0 not in size and size != (camera.width, camera.height):
            raise InvalidRequestError(
                f"the boxes are of an image of {boxes.width}x{boxes.height} px, but camera_info is of "
                f"{camera.width}x{camera.height} px: remap camera_info to that of the images that are tracked in"
            )


def read_classes(text: str) -> Mapping[str, int]:
    """Label in lower case -> number of its group, of 'person, pedestrian; car, truck'.

    Raises `InvalidRequestError` for a label in several groups.
    """
    kinds: dict[str, int] = {}
    for number, group in enumerate(text.split(";")):
        for label in {name.strip().lower() for name in group.split(",")} - {""}:
            if label in kinds:
                raise InvalidRequestError(
                    f"classes is {text!r}, in which {label} stands in two groups; it can be in one"
                )
            kinds[label] = number
    return kinds


def _finite(*values: Any) -> bool:
    return all(np.isfinite(value).all() for value in values)


def _differ(first: str, second: str) -> bool:
    """Whether two frames that are both known are not the same; some publishers still put a slash before their names."""
    return bool(first and second) and first.removeprefix("/") != second.removeprefix("/")


def undistorted(boxes: Matrix, camera: Camera) -> Matrix:
    """Boxes (N, 4) of an image as they would be without the distortion of its lens: around the corners moved."""
    if len(boxes) == 0 or not np.any(camera.distortion):
        return boxes
    import cv2

    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    undo = cv2.fisheye.undistortPoints if camera.distortion_model == "equidistant" else cv2.undistortPoints
    straight = undo(corners, camera.matrix, camera.distortion, P=camera.matrix).reshape(-1, 4, 2)
    return np.concatenate([straight.min(1), straight.max(1)], 1)


def _moved(track: TrackedBox, dt: float) -> Matrix:
    """(4,) box of a track ``dt`` seconds later; its size is kept."""
    return np.asarray(track.box + np.tile(track.velocity[:2] * dt, 2), np.float64)
