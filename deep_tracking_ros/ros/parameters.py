"""Parameters of the node itself, beside those of its pipeline, and how both live as ROS parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.parameters import Parameter, declared, make_parameters, parameter
from deep_tracking_ros.pipelines.pipeline import Pipeline
from deep_tracking_ros.types import Cloud, Detections, Detections3D, Frame

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True)
class TransportParameters:
    """Parameters of a node that takes images. Read when the node is activated."""

    image_transport: str = parameter(
        "raw", "Which images to subscribe to; compressed ones are at image/compressed.", choices=("raw", "compressed")
    )


@dataclass(frozen=True)
class SensorParameters:
    """Parameters of a node that takes images or point clouds. Read when the node is activated."""

    image_reliability: str = parameter(
        "auto",
        "Reliability asked of the publishers of images or point clouds; auto asks for reliable, and for best_effort "
        "from the moment that a publisher offers no more.",
        choices=("auto", "reliable", "best_effort", "system_default"),
    )
    image_depth: int = parameter(
        5, "Images or point clouds that the middleware keeps for this node.", unit="images", minimum=1, maximum=1000
    )


@dataclass(frozen=True)
class OverlayParameters:
    """Parameters of a node that draws its results on images. Read when the node is activated."""

    overlay_rate: float = parameter(
        30.0, "Most pictures a second on the overlay topic, while somebody subscribes.", unit="Hz", minimum=0.1,
        maximum=1000,
    )  # fmt: skip


@dataclass(frozen=True)
class NodeParameters:
    """Parameters that every node of a pipeline has. Read when the node is activated; `AT_START` when it starts."""

    intake: str = parameter(
        "newest",
        "What happens to inputs that come while one is processed: newest drops all but the last, every keeps them.",
        choices=("newest", "every"),
    )
    intake_limit: int = parameter(
        100,
        "With intake every: so many inputs wait at most, then the oldest is dropped.",
        unit="inputs",
        minimum=1,
        maximum=100000,
    )
    autostart: bool = parameter(True, "Configure and activate the node by itself when it starts.")
    diagnostics_period: float = parameter(
        1.0, "Time between two messages on /diagnostics, set at the start.", unit="s", minimum=0.1, maximum=60
    )


@dataclass(frozen=True)
class DetectionParameters:
    """Parameters of a node that takes detections from others. Read when the node is configured."""

    detections_type: str = parameter(
        "deep_tracking",
        "Messages that detections come as: this package's, or those of vision_msgs.",
        choices=("deep_tracking", "vision_msgs"),
    )


@dataclass(frozen=True)
class VisionParameters:
    """Parameters of a node that takes or gives detections. Read when the node is configured."""

    publish_vision_msgs: bool = parameter(
        False, "Publish the results as vision_msgs too, such as boxes at ~/boxes_vision."
    )


def node_parameters(pipeline: type[Pipeline]) -> tuple[type, ...]:
    """The parameter dataclasses of the node around a pipeline, beside the pipeline's own."""
    inputs, detections = set(pipeline.inputs.values()), {Detections, Detections3D}
    takes = not detections.isdisjoint(pipeline.inputs.values())
    gives = not detections.isdisjoint(pipeline.outputs.values())
    chosen = {
        TransportParameters: Frame in inputs,
        SensorParameters: not inputs.isdisjoint({Frame, Cloud}),
        NodeParameters: True,
        OverlayParameters: draws(pipeline),
        DetectionParameters: takes,
        VisionParameters: takes or gives,
    }
    return tuple(kind for kind, applies in chosen.items() if applies)


def draws(pipeline: type[Pipeline]) -> bool:
    """Whether results are about images that come to ``step``, and not only about what is remembered of them."""
    return any(kind is Frame and port not in pipeline.remembered for port, kind in pipeline.inputs.items())


AT_ACTIVATION = (TransportParameters, SensorParameters, NodeParameters, OverlayParameters)
AT_START = ("autostart", "diagnostics_period")
"""Parameters that cannot be changed while the node runs."""


class DeclaredParameters:
    """Parameter dataclasses as parameters of a node, checked when they are set: at any time, or only at the start."""

    def __init__(self, node: Node, *kinds: type, read_only: bool = False) -> None:
        """Declare the fields of all ``kinds``; with ``read_only`` those of `AT_START` are no exception.

        Raises `InvalidRequestError` for a start value of a wrong type or out of its range.
        """
        from rclpy.exceptions import InvalidParameterValueException

        from deep_tracking_ros.ros.declare import descriptor

        self._node = node
        self._known: dict[str, Parameter] = {p.name: p for kind in kinds for p in declared(kind)}
        try:
            for known in self._known.values():
                node.declare_parameter(
                    known.name, known.default, descriptor(known, read_only or known.name in AT_START)
                )
        except InvalidParameterValueException as error:
            raise InvalidRequestError(str(error)) from None
        for kind in kinds:
            self.read(kind)
        node.add_on_set_parameters_callback(self._check)

    def read(self, kind: type) -> Any:
        """An instance of one of the dataclasses with the values of now."""
        return make_parameters(kind, {p.name: self._node.get_parameter(p.name).value for p in declared(kind)})

    def _check(self, changed: Sequence[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        for new in changed:
            if new.name in self._known:
                try:
                    self._known[new.name].check(new.value)
                except InvalidRequestError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        self._tell(changed)  # a callback for what has been set is not in Humble
        return SetParametersResult(successful=True)

    def _tell(self, changed: Sequence[Any]) -> None:
        """Say when a change will be noticed."""
        for new in changed:
            if new.name in self._known:
                late = any(new.name == p.name for kind in AT_ACTIVATION for p in declared(kind))
                when = "activated" if late else "configured"
                self._node.get_logger().info(f"{new.name} is {new.value!r} from when the node is next {when}")
