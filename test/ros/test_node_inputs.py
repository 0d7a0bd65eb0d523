"""The node in a process of its own, over real DDS: images that are bad, too many, or of other quality; time."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

import cv2
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rig import START, running
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from template_tracker import STEP, picture

from deep_tracking_ros.ros.images import fill_image, to_bgr
from deep_tracking_ros.ros.messages import set_stamp, stamp_of

pytestmark = pytest.mark.ros
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


# bad input


def malformed(**changes):
    message = fill_image(Image(), picture())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "yuv999"}, "'yuv999' is not known"),
        ({"step": 7}, "step of 7 bytes"),
        ({"data": b""}, "0 bytes of data"),
        ({"width": 0}, "no pixels"),
        ({"height": 2**31}, "bytes of data, not"),
    ],
)
def test_unusable_images_are_told_and_survived(rig, changes, words):
    rig.camera.publish(malformed(**changes))
    level, message, values = rig.diagnostics(lambda values: words in values["last_fault"])
    assert level == 1
    assert words in message
    assert int(values["unusable"]) > 0
    rig.wait(lambda: "input skipped" in rig.process.text())
    rig.show((40, 60))


def test_a_cut_off_message_is_told_and_survived(rig):
    before = int(rig.diagnostics()[2]["unusable"])
    rig.camera.publish(serialize_message(malformed())[:30])
    level, message, values = rig.diagnostics(lambda values: int(values["unusable"]) > before)
    assert level == 1
    assert "bytes, but only" in message
    assert message == values["last_fault"]
    rig.show((40, 60))


def test_a_fault_of_the_pipeline_is_told_and_survived(rig):
    rig.changed = {"model": "template"}
    rig.restart(model="failing")
    # an image that comes before they have found each other is lost
    level, message, _ = rig.diagnostics(lambda values: rig.send() and int(values["faults"]) > 0)
    assert level == 1
    assert "ZeroDivisionError: a fault of the pipeline" in message
    rig.wait(lambda: "in step" in rig.process.text())  # the log has the traceback
    assert rig.state() == "active"
    assert rig.change("deactivate")  # no more of them
    rig.process.tracebacks = rig.process.text().count("Traceback")
    assert rig.process.tracebacks > 0


# intake


def test_the_newest_image_wins_and_drops_are_counted(rig):
    rig.changed = {"model": "template", "intake": "newest"}
    rig.restart(model="slow")
    rig.ready()
    before = rig.diagnostics()[2]
    stamps = []
    for _ in range(6):  # five at once, of which one or two can be taken
        stamps += [rig.send() for _ in range(5)]
        rig.spin(0.1)
    rig.wait(lambda: rig.received and stamp_of(rig.received[-1].header.stamp) == stamps[-1])
    after = rig.diagnostics(lambda values: int(values["frames"]) - int(before["frames"]) == len(rig.received))[2]
    assert len(rig.received) < 25
    dropped, lost = (int(after[name]) - int(before[name]) for name in ("dropped", "lost_in_transport"))
    assert dropped + lost + len(rig.received) == len(stamps)


def test_every_image_is_processed_where_that_is_asked_for(rig):
    rig.changed = {"model": "template", "intake": "newest", "image_depth": 5}
    rig.restart(model="slow", intake="every", image_depth=50)
    rig.ready()
    stamps = []
    for _ in range(15):
        stamps.append(rig.send())
        rig.spin(0.01)
    rig.wait(lambda: len(rig.received) == 15)
    assert [stamp_of(m.header.stamp) for m in rig.received] == stamps


def test_compressed_images(rig):
    rig.changed = {"image_transport": "raw"}
    rig.restart(image_transport="compressed")
    camera = rig.node.create_publisher(CompressedImage, "image/compressed", 5)
    rig.wait(camera.get_subscription_count)
    message = CompressedImage(format="png", data=cv2.imencode(".png", picture())[1].tobytes())
    set_stamp(message.header.stamp, START + rig.index * STEP)
    camera.publish(message)
    rig.wait(lambda: rig.received)
    assert rig.received[0].image_width == 160
    camera.publish(CompressedImage(header=message.header, format="jpeg", data=b"\xff\xd8 and no more"))
    rig.diagnostics(lambda values: "cut off" in values["last_fault"])
    rig.index += 1
    rig.node.destroy_publisher(camera)


def test_the_overlay_is_drawn_for_those_who_look(rig):
    rig.set_target((40, 60))
    rig.show((40, 60))
    assert "overlay_ms_p50" not in rig.diagnostics()[2]
    pictures = []
    subscription = rig.node.create_subscription(Image, f"{rig.name}/overlay", pictures.append, 1)
    rig.wait(lambda: rig.show((40, 60)) and pictures)
    drawn = to_bgr(pictures[0])
    changed = np.abs(drawn.astype(int) - picture((40, 60))).max(axis=2) > 0
    assert changed[45:75, 25:55].any()  # around the box
    assert not changed[:, 100:].any()
    rig.node.destroy_subscription(subscription)


# quality of service


def test_auto_falls_back_to_best_effort_cameras(rig):
    rig.node.destroy_publisher(rig.camera)
    rig.camera = rig.node.create_publisher(Image, "image", BEST_EFFORT)
    try:
        rig.restart()
        rig.ready()
        assert "is best effort: the subscription is best effort from now on" in rig.process.text()
    finally:
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "image", 10)
        rig.restart()
        rig.ready()


def test_an_incompatible_camera_is_named_with_the_parameter_to_change(tmp_path):
    with running(tmp_path, "/own", image_reliability="reliable") as (rig, process):
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "/own/image", BEST_EFFORT)
        rig.wait(lambda: "image_reliability:=best_effort" in process.text())
        assert "/own/image" in process.text()
        level, _, _ = rig.diagnostics(lambda values: "set image_reliability:=best_effort" in values["message"])
        assert level == 1
        rig.diagnostics(lambda values: "nothing came on /own/image for" in values["message"])
        assert "nothing came on /own/image for" in process.text()
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "/own/image", 10)
        rig.ready()
        rig.diagnostics(lambda values: rig.send() and values["level"] == 0)  # the bad one is gone
        rig.restart(image_reliability="best_effort")
        rig.ready()
        rig.diagnostics(lambda values: rig.send() and values["level"] == 0)


# time


def test_simulated_time_is_that_of_the_prediction_and_of_ages(tmp_path):
    with running(tmp_path, "/own", use_sim_time=True, predict_to_now=True) as (rig, _):
        clock = rig.node.create_publisher(Clock, "/clock", 10)
        rig.wait(lambda: clock.get_subscription_count())
        rig.ready()

        def tick(after_image):
            message = Clock()
            set_stamp(message.clock, START + rig.index * STEP + after_image)
            rig.reports.clear()
            clock.publish(message)
            rig.wait(
                lambda: any(r.header.stamp == message.clock and f"/{r.status[0].name}" == rig.name for r in rig.reports)
            )

        rig.set_target((40, 60))
        for i in range(5):
            tick(30_000_000)  # each image is 30 ms old when it arrives
            message = rig.show((40 + 5 * i, 60))
        assert stamp_of(message.valid_at) - stamp_of(message.header.stamp) == 30_000_000
        moved = message.boxes[0].center_x + 0.5 - 60
        assert moved == pytest.approx(5 / STEP * 30e6, rel=0.3)
        assert message.boxes[0].covariance[0] > 0
        rig.diagnostics(lambda values: float(values["age_at_publish_ms_p50"]) == pytest.approx(30.0, abs=0.1))


def test_an_interrupt_amid_images_ends_the_node_cleanly(tmp_path):
    with running(tmp_path, "/own", model="slow") as (rig, process):
        rig.ready()
        for _ in range(20):
            rig.send()
            rig.spin(0.005)
        assert process.interrupt() == 0
