"""The parts of the soak, and the soak itself."""

import os
import subprocess
import sys
from subprocess import PIPE

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from sensor_msgs.msg import CompressedImage, Image

from benchmarks.faulty_camera import CORRUPT, ENCODINGS, MALFORMED, SIZES, FaultyCamera, target_box
from benchmarks.resources import Resources, growth
from deep_tracking_ros.errors import InvalidImageError
from deep_tracking_ros.ros.images import compressed_to_bgr, to_bgr
from deep_tracking_ros.ros.messages import stamp_of

pytestmark = pytest.mark.ros
MINUTES = float(os.environ.get("DTR_SOAK_MINUTES", "30"))


class Sink:
    """A node and a publisher that keep what is published."""

    def __init__(self):
        self.messages = []

    def create_publisher(self, kind, topic, qos):
        return self

    def publish(self, message):
        self.messages.append(message)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_good_images_show_the_target_where_it_is_said_to_be(size, encoding):
    camera = FaultyCamera(sink := Sink(), reliable=True, compressed=False, seed=3)
    camera.size, camera.encoding = size, encoding
    camera.show()
    camera.show(100)
    first, second = (to_bgr(message).astype(int) for message in sink.messages)
    stamps = [stamp_of(message.header.stamp) for message in sink.messages]
    assert stamps[1] - stamps[0] == 5 * 10**9
    assert first.shape == (size[1], size[0], 3)
    changed = np.abs(first - second).sum(2) > 0
    assert changed.any()
    for stamp in stamps:  # nothing but the target differs between the two
        x0, y0, x1, y1 = np.rint(target_box(stamp, *size) + 0.5).astype(int)
        changed[y0:y1, x0:x1] = False
    assert not changed.any()


@pytest.mark.parametrize("compressed", [False, True])
def test_each_malformed_image_is_refused_with_the_words_that_the_soak_expects(compressed):
    camera = FaultyCamera(sink := Sink(), reliable=True, compressed=compressed, seed=3)
    for name, (_, words) in (CORRUPT if compressed else MALFORMED).items():
        camera.fault(name)
        message = sink.messages.pop()
        assert isinstance(message, CompressedImage if compressed else Image)
        with pytest.raises(InvalidImageError, match=words):
            (compressed_to_bgr if compressed else to_bgr)(message)


def test_faults_of_time_are_what_their_names_say():
    camera = FaultyCamera(sink := Sink(), reliable=True, compressed=False, seed=3)
    camera.show()

    def stamp(name):
        camera.fault(name)
        return stamp_of(sink.messages[-1].header.stamp)

    first = camera.stamp
    assert stamp("duplicate") == first
    assert first - 10**8 < stamp("late") < first
    assert stamp("jump back") < first - 2 * 10**9
    before = camera.stamp
    assert stamp("jump forward") > before + 2 * 10**9


def test_growth_is_what_stays():
    noise = np.random.default_rng(0).normal(0, 2, 60)
    peaks = np.where(np.arange(60) % 7 == 0, 80, 0)
    assert abs(growth(300 + noise + peaks)) < 3
    assert growth(300 + noise + peaks + np.arange(60)) == pytest.approx(40, abs=5)


def test_what_a_process_holds_is_seen():
    # In a process of its own: this one may give memory back at any moment.
    ready = "print(flush=True); input()"
    script = f"import os; {ready}; held = b'1' * 50_000_000; file = open(os.devnull); {ready}"
    with subprocess.Popen([sys.executable, "-c", script], text=True, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout.readline()
        before = Resources.of(process.pid)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline()
        after = Resources.of(process.pid)
        print(file=process.stdin, flush=True)
    assert after.rss_mb - before.rss_mb == pytest.approx(50, rel=0.2)
    assert after.files == before.files + 1
    assert after.threads == before.threads >= 1


@pytest.mark.slow
@pytest.mark.timeout(60 * (MINUTES + 10))
def test_the_node_lives_through_a_bad_camera_and_a_bad_operator(tmp_path, monkeypatch):
    from benchmarks.soak import report, soak

    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(60 + os.getpid() % 16))
    values = soak(MINUTES, seed=1, folder=tmp_path)
    print(report(values))
    assert not values["failures"], (tmp_path / "node.log").read_text()[-5000:]
    assert values["images"] > 300 * MINUTES
