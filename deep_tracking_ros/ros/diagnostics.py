"""``/diagnostics``: one status that says how the node and its pipeline are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock

from deep_tracking_ros.ros.compat import ClockType
from deep_tracking_ros.ros.measurements import Measurements
from deep_tracking_ros.ros.qos import DIAGNOSTICS

if TYPE_CHECKING:
    from rclpy.node import Node

COUNTS = ("received", "published", "dropped", "lost_in_transport", "unusable", "faults")
STAGES = ("wait", "decode", "step", "convert", "publish", "overlay")


class Diagnostics:
    """Publishes a status at a steady rate, also while the clock of a simulation stands still.

    The status is an error while ``error`` is not empty, and a warning while ``warnings`` gives something or images
    were unusable or the pipeline failed since the last one.
    """

    def __init__(
        self,
        node: Node,
        period: float,
        status: Callable[[], Mapping[str, str | int | float]],
        warnings: Callable[[], list[str]],
    ) -> None:
        self.measurements = Measurements()
        self.error = ""  # why the node does not work, in a sentence; empty = it does
        self.last_fault = ""  # the last image or step that failed
        self._node, self._status, self._warnings = node, status, warnings
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS)
        self._timer = node.create_timer(period, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        message = DiagnosticArray(status=[self.status()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def status(self) -> DiagnosticStatus:
        """The status of now; rates are those since the last call."""
        status = self._status()
        rates, new = self.measurements.rates()
        warnings = self._warnings()
        if self.last_fault and (new.get("unusable") or new.get("faults")):
            warnings.append(self.last_fault)
        if self.error:
            level, text = DiagnosticStatus.ERROR, self.error
        elif warnings:
            level, text = DiagnosticStatus.WARN, "; ".join(warnings)
        else:
            level = DiagnosticStatus.OK
            text = f"{rates.get('received', 0.0):.1f} images/s in, {rates.get('published', 0.0):.1f} results/s out"
        values: dict[str, str | int | float] = {
            "rate_in_hz": rates.get("received", 0.0),
            "rate_out_hz": rates.get("published", 0.0),
        }
        counts = self.measurements.counts()
        values |= {name: counts.get(name, 0) for name in COUNTS}
        values |= self._percentiles("age_at_publish", 50, 95, 99)
        values |= self._percentiles("latency", 50, 95, 99)
        for stage in STAGES:
            values |= self._percentiles(stage, 50)
        values |= {"last_fault": self.last_fault, **status}
        return DiagnosticStatus(
            level=level,
            name=self._node.get_fully_qualified_name().lstrip("/"),
            message=text,
            hardware_id="",
            values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
        )

    def _percentiles(self, name: str, *ranks: int) -> dict[str, float]:
        found = self.measurements.percentiles(name, *ranks)
        return {f"{name}_ms_p{rank}": value for rank, value in zip(ranks, found, strict=False)}


def _text(value: str | int | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
