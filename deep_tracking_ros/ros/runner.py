"""Start the nodes of a launch file as processes, where ``ros2 launch`` is not installed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from deep_tracking_ros.ros.nodes import NodeStart

# SIGINT ends a node also where a shell's background job, in which it is ignored, started us.
# prctl(PR_SET_PDEATHSIG, SIGINT): where this process is killed, its nodes end too
_CODE = """import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
ctypes.CDLL(None).prctl(1, 2)
from deep_tracking_ros.ros.nodes import main
main(sys.argv.pop(1))
"""


def command(node: NodeStart, extra: Sequence[str] = ()) -> list[str]:
    """The command line of a node; ``extra`` arguments win over ours."""
    # of two remappings the first holds, of two parameters the last
    return [sys.executable, "-u", "-c", _CODE, node.executable, *extra, *node.ros_arguments(), *extra]


class Processes:
    """Nodes that run; leaving the block ends them all, the last started first."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def start(self, node: NodeStart, extra: Sequence[str] = (), output: IO[str] | None = None) -> subprocess.Popen[str]:
        """Start a node; its lines go to ``output`` (default: standard output) with its name before them."""
        process = subprocess.Popen(
            command(node, extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone, who pass it on
        )
        self.running[node.name] = process
        reader = threading.Thread(target=_copy, args=(process.stdout, node.name, output or sys.stdout), daemon=True)
        reader.start()
        self._readers.append(reader)
        return process

    def wait(self) -> int:
        """Until all have ended (0) or one has failed (its exit status)."""
        while True:
            ended = [process.poll() for process in self.running.values()]
            if failed := next((status for status in ended if status), 0):
                return failed
            if None not in ended:
                return 0
            time.sleep(0.05)

    def stop(self, patience: float = 5.0) -> None:
        """End all: SIGINT, and SIGKILL for those that run on after ``patience`` s."""
        for process in reversed(list(self.running.values())):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        for process in self.running.values():
            try:
                process.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join(1.0)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _copy(source: IO[str] | None, name: str, output: IO[str]) -> None:
    for line in source or ():
        output.write(f"[{name}] {line}")
        output.flush()


def run(nodes: Sequence[NodeStart], extra: Sequence[str] = ()) -> int:
    """Start nodes and stay until all have ended, one fails or the user interrupts; gives the exit status.

    ``extra`` arguments go to the first node: that of the pipeline, beside which a player may run.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: shells start background jobs with it ignored
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Processes() as processes:
            for number, node in enumerate(nodes):
                processes.start(node, () if number else extra)
            return processes.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
