"""Signals that end a node while it can still say so."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.executors import Executor


@contextmanager
def interruptible(executor: Executor) -> Iterator[None]:
    """SIGINT and SIGTERM raise `KeyboardInterrupt` in the block, which spins the executor.

    rclpy's own handlers, which are gone from then on, shut the context down: nobody could be told anything any more.
    Python's handlers do not; but they wait for the main thread, which waits for messages, and have to wake it.
    In other threads than the main one nothing changes.
    """
    if current_thread() is not main_thread():
        yield
        return
    from rclpy.signals import uninstall_signal_handlers

    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def wake() -> None:
        while receiver.recv(1):
            executor.wake()

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    uninstall_signal_handlers()
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    waker = Thread(target=wake, name="signals", daemon=True)
    waker.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.close()
        waker.join()
        receiver.close()
