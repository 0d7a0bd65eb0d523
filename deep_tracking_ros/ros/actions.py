"""The action ``~/track_object``: one target from its box to its end."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.task import Future

from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.pipelines.pipeline import Reply
from deep_tracking_ros.pipelines.requests import RemoveTarget
from deep_tracking_ros.ros.compat import ClockType
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages import read_set_target, stamp_of, write_reply
from deep_tracking_ros.types import State, TrackedBoxes, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

LIMITS = ("timeout", "max_lost", "max_silence")
"""Durations in a goal."""

LINGER, PATIENCE = 1.0, 5
"""So long after its last goals were ended with it a server still sends their results, s; so many times where some are
not ready by then."""

WATCH = 0.05
"""Time between two looks at how long no image has come, s."""


class Submit(Protocol):
    """Hands a request to the pipeline's thread, which calls ``then`` with the reply before its next step."""

    def __call__(self, request: Any, then: Callable[[Reply], None] | None = None) -> Awaitable[Reply]: ...


class Goal:
    """One target that somebody follows by the action; times are those of the images, but for how long none comes."""

    def __init__(self, handle: Any, executor: Any) -> None:
        self.handle = handle
        self.id = 0  # of the target, from when it is set
        self.timeout, self.max_lost, self.max_silence = (stamp_of(getattr(handle.request, name)) for name in LIMITS)
        self.last: tuple[Any, Any] | None = None  # header and box of the last image in which the target was found
        self.over = Future(executor=executor)
        self._executor = executor
        self._elapsed = self._lost = 0  # ns, without what passed over time jumps
        self._heard = monotonic()
        self._before: TrackedBoxes | None = None

    def end(self, reply: Reply) -> None:
        """The goal is over; the first reply counts."""
        if not self.over.done():
            self.over.set_result(reply)
            self._executor.wake()

    def follow(self, result: TrackedBoxes, message: Any) -> None:
        """Take the next result (and its message): give feedback, and see whether the goal is over."""
        self._heard = monotonic()
        found = [i for i, box in enumerate(result.boxes) if box.id == self.id]
        if not found:
            self.end(Reply(f"target {self.id} was removed by somebody else", ErrorCode.CANCELED, self.id))
            return
        before = self._before
        dt = result.stamp - before.stamp if before is not None and before.epoch == result.epoch else 0
        lost = result.boxes[found[0]].state is State.LOST
        box = message.boxes[found[0]]
        self._elapsed += dt
        self._lost = self._lost + dt if lost and self._was_lost(before) else 0
        self._before = result
        feedback = message_class("deep_tracking_ros/action/TrackObject").Feedback()
        feedback.header, feedback.epoch, feedback.box = message.header, message.epoch, box
        self.handle.publish_feedback(feedback)
        if not lost:
            self.last = (message.header, box)
        if lost and self._lost >= self.max_lost:
            text = f"target {self.id} stayed lost for {seconds(self._lost):.2f} s"
            self.end(Reply(text, ErrorCode.TARGET_LOST, self.id))
        elif self.timeout and self._elapsed >= self.timeout:
            text = f"target {self.id} was followed for {seconds(self._elapsed):.2f} s"
            code = ErrorCode.TIMEOUT if lost else ErrorCode.SUCCESS
            self.end(Reply(text + (" and is lost now" if lost else ""), code, self.id))

    def watch(self) -> None:
        """See whether the goal is over since no image comes."""
        silent = monotonic() - self._heard
        if silent > seconds(self.max_silence):
            text = f"no image was processed for {silent:.2f} s, while target {self.id} was followed"
            self.end(Reply(text, ErrorCode.NO_FRAME, self.id))

    def _was_lost(self, before: TrackedBoxes | None) -> bool:
        return before is not None and any(b.id == self.id and b.state is State.LOST for b in before.boxes)


class Goals:
    """The action server and its goals, any number at a time."""

    def __init__(self, node: Node, submit: Submit) -> None:
        self._node, self._submit = node, submit
        self._goals: dict[bytes, Goal] = {}
        self._lock = Lock()
        self._retired = False
        self._farewell: Any = None  # timer
        self._lingered = 0  # times
        self._server: ActionServer | None = ActionServer(
            node,
            message_class("deep_tracking_ros/action/TrackObject"),
            "~/track_object",
            self._execute,
            goal_callback=self._consider,
            cancel_callback=self._cancel,
        )

    def feed(self, result: TrackedBoxes, message: Any) -> None:
        """Let all goals see a result; called in the pipeline's thread."""
        with self._lock:
            goals = [goal for goal in self._goals.values() if goal.id and not goal.over.done()]
        for goal in goals:
            goal.follow(result, message)

    def end(self, reply: Reply) -> list[int]:
        """End all goals, such as when the node is deactivated; gives the ids of their targets, for removal."""
        with self._lock:
            goals = list(self._goals.values())
        for goal in goals:
            goal.end(reply)
        return [goal.id for goal in goals if goal.id]

    @property
    def left(self) -> int:
        """How many have no result yet."""
        return len(self._goals)

    def retire(self) -> None:
        """Take no more goals, and end the server as soon as the results of those that were ended are sent."""
        self._retired = True
        if self._goals and self._server is not None:
            self._farewell = self._node.create_timer(LINGER, self._leave, clock=Clock(clock_type=ClockType.STEADY_TIME))
        else:
            self.destroy()

    def _leave(self) -> None:
        self._lingered += 1
        if not self._goals or self._lingered == PATIENCE:
            self.destroy()

    def destroy(self) -> None:
        """End the server, sent or not."""
        if self._farewell is not None:
            self._farewell.cancel()
        if self._server is not None:
            self._server.destroy()
            self._server = None

    def _consider(self, request: Any) -> GoalResponse:
        return GoalResponse.REJECT if self._retired else GoalResponse.ACCEPT

    def _cancel(self, handle: Any) -> CancelResponse:
        goal = self._goals.get(_key(handle))
        if goal is not None:
            goal.end(Reply("cancelled by the caller", ErrorCode.CANCELED, goal.id))
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        goal = Goal(handle, self._node.executor)
        with self._lock:
            self._goals[_key(handle)] = goal
        if handle.is_cancel_requested:  # before the line above
            self._cancel(handle)

        def started(reply: Reply) -> None:
            goal.id = reply.id

        reply = check_limits(handle.request)
        if reply.code is ErrorCode.SUCCESS:
            reply = await self._submit(read_set_target(handle.request), started)
        if reply.code is ErrorCode.SUCCESS:
            reply = await self._over(goal)
            await self._submit(RemoveTarget(goal.id))
        with self._lock:
            del self._goals[_key(handle)]
        return self._result(goal, reply)

    async def _over(self, goal: Goal) -> Reply:
        timer = None
        if goal.max_silence:
            timer = self._node.create_timer(WATCH, goal.watch, clock=Clock(clock_type=ClockType.STEADY_TIME))
        reply: Reply = await goal.over
        if timer is not None:
            self._node.destroy_timer(timer)
        return reply

    def _result(self, goal: Goal, reply: Reply) -> Any:
        result = write_reply(reply, message_class("deep_tracking_ros/action/TrackObject").Result())
        result.id = goal.id
        if goal.last is not None:
            result.last_header, result.last = goal.last
        with suppress(rclpy_implementation.RCLError):  # interrupted: the status is set, but cannot be published
            if reply.code is ErrorCode.SUCCESS:
                goal.handle.succeed()
            elif goal.handle.is_cancel_requested:
                goal.handle.canceled()
            else:
                goal.handle.abort()
        return result


def check_limits(request: Any) -> Reply:
    """Whether the durations in a goal can be meant."""
    for name in LIMITS:
        limit = seconds(stamp_of(getattr(request, name)))
        if limit < 0:
            return Reply(f"{name} is {limit:g} s; it must be 0 or more", ErrorCode.INVALID_REQUEST)
    return Reply("")


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)
