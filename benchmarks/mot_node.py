"""What the node multi_object_tracker costs: from a message of detections in the middleware's hands to its tracks
published, against the number of objects.

The detector and the node are processes of their own; the node is the one that users start.

    python -m benchmarks.mot_node
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import benchmarks.common as common
from deep_tracking_ros.ros.client import spin_until, temporary_node

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (0, 10, 100, 1000)
RATE = {0: 30, 10: 30, 100: 30, 1000: 5}  # messages a second
LENGTH = 8.0  # s
KEYS = ("latency_ms_p50", "latency_ms_p95", "wait_ms_p50", "convert_ms_p50", "publish_ms_p50")


def detector(count: int, rate: float) -> None:
    """Publish people who walk, at a rate, until interrupted."""
    import rclpy

    from benchmarks.mot import crowd
    from deep_tracking_ros.ros.interfaces import message_class
    from deep_tracking_ros.ros.messages import set_stamp, to_message
    from deep_tracking_ros.types import Detection, Detections

    # to and fro, so that nobody leaves and each step finds all of them
    there = [
        to_message(
            Detections(0, "camera", tuple(Detection(b.astype("f4"), s, "person") for b, s in zip(*found, strict=True)))
        )
        for found in crowd(count, 50)
    ]
    messages = there + there[::-1]
    rclpy.init()
    node = rclpy.create_node("detector")
    publisher = node.create_publisher(message_class("deep_tracking_ros/msg/Detection2DArray"), "detections", 5)
    due, number = time.monotonic(), 0
    while node.context.ok():
        message = messages[number % len(messages)]
        set_stamp(message.header.stamp, time.time_ns())
        publisher.publish(message)
        number += 1
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def measure(count: int) -> dict[str, float]:
    """Values of the node's diagnostics after a run, and the processor time of its process per message."""
    from diagnostic_msgs.msg import DiagnosticArray

    from deep_tracking_ros.ros.interfaces import message_class

    command = [sys.executable, str(ROOT / "scripts/multi_object_tracker"), "--ros-args", "-p", "autostart:=true"]
    reports: list[dict[str, str]] = []
    received = []
    with temporary_node("observer") as observer:
        observer.create_subscription(
            message_class("deep_tracking_ros/msg/TrackedBoxArray"),
            "multi_object_tracker/boxes",
            lambda m: received.append(len(m.boxes)),  # type: ignore[attr-defined]
            10,
        )
        observer.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda m: reports.append({v.key: v.value for v in m.status[0].values}),  # type: ignore[attr-defined]
            10,
        )
        node = subprocess.Popen([*command, "-p", "diagnostics_period:=0.5"])
        source = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mot_node", "detector", str(count), str(RATE[count])],
            stderr=subprocess.DEVNULL,
        )
        try:
            if not spin_until(observer, lambda: reports and int(reports[-1].get("published", 0)) > 20, 60.0):
                raise SystemExit("the node did not publish 20 results in a minute")
            first, spent = reports[-1], cpu_s(node.pid)
            spin_until(observer, lambda: False, LENGTH)
            last, spent = reports[-1], cpu_s(node.pid) - spent
        finally:
            for process in (source, node):
                process.send_signal(2)
            for process in (source, node):
                process.wait(10.0)
    results = int(last["published"]) - int(first["published"])
    values = {key: float(last[key]) for key in KEYS}
    values["cpu_ms"] = 1e3 * spent / results
    values["results"] = results
    values["dropped"] = int(last["dropped"]) - int(first["dropped"])
    values["tracks"] = received[-1]
    return values


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    os.environ.setdefault("ROS_DOMAIN_ID", "29")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["OMP_NUM_THREADS"] = "1"
    runs = {f"{count:,}": lambda count=count: measure(count) for count in COUNTS}
    results = common.interleave(runs, 3, lambda name: print(name, flush=True))
    values = {name: {key: common.median(found, key) for key in found[0]} for name, found in results.items()}
    header = ["objects", "in to out p50 ms", "p95 ms", "waiting ms", "convert ms", "publish ms", "CPU ms"]
    rows = [[name, *(f"{found[key]:.2f}" for key in (*KEYS, "cpu_ms"))] for name, found in values.items()]
    text = (
        "From when the middleware has the whole message of detections to when the tracks are published; medians over 3 "
        "runs. Waiting is until the worker takes the message up; CPU is processor time of the whole process, with the\n"
        "middleware's own threads and diagnostics.\n\n" + common.markdown(header, rows)
    )
    common.write("mot_node", "Cost of the node multi_object_tracker", {"runs": values}, text)
    print(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["detector", count, rate]:
            detector(int(count), float(rate))
        case _:
            main()
