"""The pipelines by name: one entry per capability."""

from __future__ import annotations

from collections.abc import Mapping

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.pipelines.detector import DetectorPipeline
from deep_tracking_ros.pipelines.fusion import FusionPipeline
from deep_tracking_ros.pipelines.lidar_proposals import LidarProposalsPipeline
from deep_tracking_ros.pipelines.multi_object import MultiObjectPipeline
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DPipeline
from deep_tracking_ros.pipelines.pipeline import Pipeline
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline

PIPELINES: Mapping[str, type[Pipeline]] = {
    kind.name: kind
    for kind in (
        SingleObjectPipeline,
        MultiObjectPipeline,
        MultiObject3DPipeline,
        DetectorPipeline,
        LidarProposalsPipeline,
        FusionPipeline,
    )
}
"""Name to class; ``PIPELINES[name].make(parameters, log)`` loads the models and gives a pipeline that is ready."""

ALIASES: Mapping[str, str] = {"tracker": SingleObjectPipeline.name}
"""Short names for the command line."""


def find_pipeline(name: str) -> type[Pipeline]:
    """The class of this name or alias. Raises `InvalidRequestError` listing the known ones."""
    full = ALIASES.get(name, name)
    if full not in PIPELINES:
        raise InvalidRequestError(f"there is no pipeline {name!r}; known are {', '.join([*ALIASES, *PIPELINES])}")
    return PIPELINES[full]
