"""Commands to tracking pipelines, as the services and actions carry them."""

from __future__ import annotations

from dataclasses import dataclass

from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True, eq=False)
class SetTarget:
    """Start following the object in a box or that of a track, or start an existing target anew."""

    box: FloatArray  # (4,) xyxy, px; of no area with a track_id
    stamp: int = 0  # ns, of the image on which the box was drawn; 0 = the next image
    label: str = ""
    id: int = 0  # 0 = a new target
    track_id: int = 0  # of a track of a multi-object tracker, whose box is taken; 0 = the box above


@dataclass(frozen=True)
class RemoveTarget:
    """Stop following one target."""

    id: int


@dataclass(frozen=True)
class ClearTargets:
    """Stop following all targets."""
