"""The services of a pipeline's commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import ReentrantCallbackGroup

from deep_tracking_ros.pipelines.pipeline import Reply
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages import SERVICES, write_reply

if TYPE_CHECKING:
    from rclpy.node import Node

Submit = Callable[[Any], Awaitable[Reply]]
"""Hands a request to the pipeline's thread; the reply says what went wrong, nothing is raised."""


class Commands:
    """One service ``~/NAME`` per command. Waiting for the pipeline blocks no other callback of the node."""

    def __init__(self, node: Node, commands: Mapping[str, type], submit: Submit) -> None:
        self._node = node
        group = ReentrantCallbackGroup()  # of a callback that waits, an exclusive group would hold up the others
        self._services = [
            node.create_service(
                message_class(SERVICES[kind].type),
                f"~/{name}",
                _answering(SERVICES[kind].read, submit),
                callback_group=group,
            )
            for name, kind in commands.items()
        ]

    def destroy(self) -> None:
        """End all services."""
        for service in self._services:
            self._node.destroy_service(service)


def _answering(read: Callable[[Any], Any], submit: Submit) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, response: Any) -> Any:
        return write_reply(await submit(read(request)), response)

    return answer
