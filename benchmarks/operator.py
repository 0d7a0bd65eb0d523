"""An operator of the tracker's node who does sensible and senseless things, and notes every wrong answer."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.faulty_camera import target_box
from deep_tracking_ros.errors import DataError, ErrorCode
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from deep_tracking_ros.ros.client import call, spin_until
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages import set_stamp, stamp_of
from deep_tracking_ros.types import NANOSECONDS

PATIENCE = 20.0
"""A call that is not answered for longer has failed, s."""

SERVICES = "deep_tracking_ros/srv"
OK, CODE = ErrorCode.SUCCESS, ErrorCode
GONE = {CODE.STAMP_NOT_BUFFERED, CODE.NO_FRAME}  # an image that was kept a moment ago, before time jumped
UNUSABLE_BOXES = ((50.0, 50.0, 0.0, 0.0), (50.0, 50.0, -20.0, 20.0), (float("nan"), 50.0, 20.0, 20.0),
                  (50.0, 50.0, float("inf"), 20.0), (50.0, 50.0, 0.3, 0.3))  # fmt: skip
COUNTED_PER_CYCLE = ("duplicates", "late", "jumps")
"""Counters of the pipeline, which start at 0 again when the node was cleaned up; all others run on."""


class DiagnosticsWatch:
    """Sums up the counters of a node over its whole life, and how long it was silent at most."""

    def __init__(self, node: Any, name: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self.values: dict[str, str] = {}
        self.longest_silence = 0.0
        self._name, self._heard = name, time.monotonic()
        self._before: Counter[str] = Counter()  # of cycles that are over
        self._reports = 0
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 100)

    def total(self, name: str) -> int:
        """Sum of a counter over all cycles."""
        return self._before[name] + int(self.values.get(name, 0))

    def newest(self, client: TrackerClient) -> dict[str, str]:
        """The values of the report after next, which knows of all that was done before this call."""
        wanted = self._reports + 2
        client.wait(lambda: self._reports >= wanted, PATIENCE, "the node's diagnostics are silent")
        return self.values

    def _take(self, message: Any) -> None:
        for status in message.status:
            if not status.name.endswith(self._name):
                continue
            values = {v.key: v.value for v in status.values}
            for name in COUNTED_PER_CYCLE:
                if int(values.get(name, 0)) < int(self.values.get(name, 0)):
                    self._before[name] += int(self.values[name])
            now = time.monotonic()
            if self._reports:
                self.longest_silence = max(self.longest_silence, now - self._heard)
            self.values, self._heard = values, now
            self._reports += 1


class TrackerClient:
    """The other side of a tracker node's topics and services."""

    def __init__(self, node: Any, name: str) -> None:
        from rclpy.action import ActionClient

        self.node, self.name = node, name
        self.results: list[Any] = []
        self.deactivated = 0  # times
        kind = message_class("deep_tracking_ros/msg/TrackedBoxArray")
        node.create_subscription(kind, f"{name}/boxes", self._take, 100)
        self.action = ActionClient(node, message_class("deep_tracking_ros/action/TrackObject"), f"{name}/track_object")

    def _take(self, message: Any) -> None:
        self.results.append(message)
        del self.results[:-1000]

    def spin_until(self, done: Callable[[], Any], seconds: float) -> bool:
        return spin_until(self.node, done, seconds)

    def spin(self, seconds: float) -> None:
        spin_until(self.node, lambda: False, seconds)

    def wait(self, done: Callable[[], Any], seconds: float, otherwise: str) -> None:
        """Raises `DataError` with the text ``otherwise`` where it is not done in time."""
        if not self.spin_until(done, seconds):
            raise DataError(f"{otherwise} within {seconds:g} s")

    def call(self, kind: str, service: str, request: Any) -> Any:
        return call(self.node, message_class(kind), f"{self.name}/{service}", request, PATIENCE)

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        kind = "lifecycle_msgs/srv/GetState"
        return str(self.call(kind, "get_state", GetState.Request()).current_state.label)

    def change(self, transition: str) -> bool:
        """Whether a transition, such as 'activate', was carried out."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        id_ = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=id_))
        done = bool(self.call("lifecycle_msgs/srv/ChangeState", "change_state", request).success)
        self.deactivated += done and transition == "deactivate"
        return done

    def set_parameter(self, name: str, value: object) -> bool:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        answer = self.call("rcl_interfaces/srv/SetParameters", "set_parameters", request)
        return bool(answer.results[0].successful)

    def target_request(self, box: Any, stamp: Any = None, **fields: Any) -> Any:
        """A request to set a target on a box (cx, cy, w, h), px."""
        request = message_class(f"{SERVICES}/SetTarget").Request(**fields)
        request.center_x, request.center_y, request.size_x, request.size_y = map(float, box)
        if stamp is not None:
            request.stamp = stamp
        return request

    def set_target(self, box: Any, stamp: Any = None, **fields: Any) -> Any:
        return self.call(f"{SERVICES}/SetTarget", "set_target", self.target_request(box, stamp, **fields))

    def remove_target(self, id_: int) -> Any:
        request = message_class(f"{SERVICES}/RemoveTarget").Request(id=id_)
        return self.call(f"{SERVICES}/RemoveTarget", "remove_target", request)

    def clear_targets(self) -> Any:
        return self.call(
            f"{SERVICES}/ClearTargets", "clear_targets", message_class(f"{SERVICES}/ClearTargets").Request()
        )

    def truth(self, message: Any) -> Any:
        """(cx, cy, w, h) of the target in the image of a result, px."""
        box = target_box(stamp_of(message.header.stamp), message.image_width, message.image_height)
        return xyxy_to_cxcywh(box)

    def iou(self, message: Any, box: Any) -> float:
        given = cxcywh_to_xyxy(np.array([box.center_x, box.center_y, box.size_x, box.size_y]))
        return float(iou(given, cxcywh_to_xyxy(self.truth(message))))


class Operator:
    """Does one thing by chance at each `act`; ``failures`` has a sentence for each answer that is not as it must be."""

    def __init__(self, client: TrackerClient, watch: DiagnosticsWatch, choice: random.Random) -> None:
        self.client, self._watch, self._choice = client, watch, choice
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._overlay: Any = None
        self._goals: list[Any] = []
        self._acts: dict[Callable[[], None], float] = {
            self.set_on_seen: 8, self.set_on_next: 2, self.set_unusable: 2, self.set_old: 2, self.set_outside: 1,
            self.remove: 4, self.remove_unknown: 1, self.clear: 1, self.goal: 3, self.cancel: 2, self.overlay: 1,
            self.parameters: 1, self.pause_node: 1, self.whole_cycle: 0.7, self.failing_configure: 0.3,
            self.senseless_transition: 0.5, self.crowd: 1,
        }  # fmt: skip

    def act(self) -> None:
        """One act; its own answers are checked."""
        act = self._choice.choices(list(self._acts), list(self._acts.values()))[0]
        name = act.__name__.replace("_", " ")
        self.done[name] += 1
        try:
            act()
        except DataError as error:
            self.failures.append(f"{name}: {error}")

    def choose_transport(self) -> bool:
        """Have the node take raw or compressed images; whether the latter."""
        compressed = self._choice.random() < 0.4
        self._expect(self.client.set_parameter("image_transport", "compressed" if compressed else "raw"), "transport")
        self.client.change("deactivate")
        self._expect(self.client.change("activate"), "activate for a transport")
        return compressed

    def calm_down(self) -> None:
        """Leave nothing behind: no goal, no overlay; the node is active."""
        for handle in self._goals:
            handle.cancel_goal_async()
        self._goals.clear()
        if self._overlay is not None:
            self.overlay()
        self.client.clear_targets()

    def _expect(self, right: object, what: str) -> None:
        if not right:
            self.failures.append(f"{what}: not as it must be")

    def _check(self, reply: Any, *codes: ErrorCode) -> None:
        code = ErrorCode(reply.code)
        if code not in codes or reply.success != (code is OK) or not reply.message:
            expected = " or ".join(c.name for c in codes)
            self.failures.append(f"code {code.name} ({reply.message!r}), not {expected}")

    # ---- targets

    def _seen(self) -> Any:
        """A result of the last second, or nothing."""
        return self._choice.choice(self.client.results[-20:]) if self.client.results else None

    def set_on_seen(self) -> None:
        seen = self._seen()
        if seen is not None:
            reply = self.client.set_target(self.client.truth(seen), seen.header.stamp, label="seen")
            self._check(reply, OK, CODE.TOO_MANY_TARGETS, *GONE)

    def set_on_next(self) -> None:
        self._check(self.client.set_target((40, 40, 30, 30), label="next"), OK, CODE.TOO_MANY_TARGETS)

    def set_unusable(self) -> None:
        reply = self.client.set_target(self._choice.choice(UNUSABLE_BOXES))
        self._check(reply, CODE.INVALID_BOX, CODE.INVALID_REQUEST, CODE.TOO_MANY_TARGETS)

    def set_outside(self) -> None:
        if (seen := self._seen()) is not None:
            reply = self.client.set_target((5000, 50, 30, 30), seen.header.stamp)
            self._check(reply, CODE.OUTSIDE_IMAGE, CODE.TOO_MANY_TARGETS, *GONE)

    def set_old(self) -> None:
        stamp = message_class("builtin_interfaces/msg/Time")()
        set_stamp(stamp, self._choice.choice([1, 5 * NANOSECONDS, (2**31 - 1) * NANOSECONDS]))
        self._check(self.client.set_target((50, 50, 30, 30), stamp), CODE.TOO_MANY_TARGETS, *GONE)

    def remove(self) -> None:
        seen = self._seen()
        if seen is not None and seen.boxes:
            self._check(self.client.remove_target(self._choice.choice(seen.boxes).id), OK, CODE.UNKNOWN_TARGET)

    def remove_unknown(self) -> None:
        self._check(self.client.remove_target(self._choice.choice([0, 10**9, 2**64 - 1])), CODE.UNKNOWN_TARGET)

    def clear(self) -> None:
        self._check(self.client.clear_targets(), OK)

    def crowd(self) -> None:
        """Eight calls at once (a service keeps ten), and the node is deactivated while they are carried out."""
        kind = message_class(f"{SERVICES}/SetTarget")
        one = self.client.node.create_client(kind, f"{self.client.name}/set_target")
        try:
            self.client.wait(one.service_is_ready, PATIENCE, "no service set_target")
            futures = [one.call_async(self.client.target_request((60, 60, 30, 30))) for _ in range(8)]
            self.client.change("deactivate")
            self.client.wait(lambda: all(f.done() for f in futures), PATIENCE, "calls were not answered")
            for future in futures:
                self._check(future.result(), OK, CODE.TOO_MANY_TARGETS, CODE.NOT_ACTIVE)
        finally:
            self.client.node.destroy_client(one)
        self._expect(self.client.change("activate"), "activate after a crowd")

    # ---- the action

    def goal(self) -> None:
        """Start a goal on something seen; it ends by itself, is cancelled later or is forgotten."""
        seen = self._seen()
        box = self.client.truth(seen) if seen is not None else (50, 50, 30, 30)
        goal = message_class("deep_tracking_ros/action/TrackObject").Goal()
        goal.center_x, goal.center_y, goal.size_x, goal.size_y = map(float, box)
        if seen is not None:
            goal.stamp = seen.header.stamp
        goal.timeout.sec, goal.max_lost.sec = self._choice.choice([0, 1, 3]), self._choice.choice([0, 1])
        self.client.wait(self.client.action.server_is_ready, PATIENCE, "no action server")
        future = self.client.action.send_goal_async(goal)
        self.client.wait(future.done, PATIENCE, "a goal is not answered")
        handle = future.result()
        self._expect(handle.accepted, "a goal was accepted")
        if self._choice.random() < 0.7:  # else forgotten
            self._goals.append(handle)

    def cancel(self) -> None:
        """Cancel a goal, of which some are over already, and wait for its result."""
        if self._goals:
            handle = self._goals.pop(self._choice.randrange(len(self._goals)))
            cancelled = handle.cancel_goal_async()
            result = handle.get_result_async()
            self.client.wait(lambda: cancelled.done() and result.done(), PATIENCE, "a cancelled goal has no result")

    # ---- pictures, parameters, life

    def overlay(self) -> None:
        """Begin to look at the overlay, or stop."""
        if self._overlay is None:
            kind = message_class("sensor_msgs/msg/Image")
            self._overlay = self.client.node.create_subscription(kind, f"{self.client.name}/overlay", id, 1)
        else:
            self.client.node.destroy_subscription(self._overlay)
            self._overlay = None

    def parameters(self) -> None:
        for name, value in (("max_targets", 0), ("image_transport", "theora"), ("max_gap", "long")):
            self._expect(not self.client.set_parameter(name, value), f"{name} = {value!r} is refused")

    def pause_node(self) -> None:
        self._expect(self.client.change("deactivate"), "deactivate")
        self._check(self.client.set_target((50, 50, 30, 30)), CODE.NOT_ACTIVE)
        self._expect(self.client.change("activate"), "activate")

    def whole_cycle(self) -> None:
        self._clean_up()
        for transition in ("configure", "activate"):
            self._expect(self.client.change(transition), transition)

    def _clean_up(self) -> None:
        self._expect(self.client.change("deactivate"), "deactivate")
        self._watch.newest(self.client)  # the pipeline's counts end here
        self._expect(self.client.change("cleanup"), "cleanup")

    def failing_configure(self) -> None:
        """A model that is not there: configure fails, and succeeds when the model is back."""
        self._clean_up()
        self._expect(self.client.set_parameter("model", "no_such_model"), "set the model")
        self._expect(not self.client.change("configure"), "configure without a model fails")
        self._expect(self.client.set_parameter("model", "siamfc"), "set the model back")
        for transition in ("configure", "activate"):
            self._expect(self.client.change(transition), f"{transition} after a failure")

    def senseless_transition(self) -> None:
        self._expect(not self.client.change("configure"), "configure while active is refused")
        self._expect(self.client.state() == "active", "active after a refused transition")
