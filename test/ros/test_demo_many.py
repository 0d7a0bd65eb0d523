"""The demo of many objects: on a clip of known motion, and on the sample clip."""

import numpy as np
import pytest
from test_demo import SIZE, clip
from typer.testing import CliRunner

from deep_tracking_ros.cli import main
from deep_tracking_ros.pipelines.replay import replay
from deep_tracking_ros.pipelines.sources import read_video
from deep_tracking_ros.ros import demo_many
from deep_tracking_ros.types import NANOSECONDS, State

__all__ = ["clip"]


def test_what_moves_in_a_clip_gets_one_id(clip, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(main.app, ["demo", "--many", "--video", str(clip), "--out", str(out)])
    assert result.exit_code == 0, result.exception
    assert "50 images, 1 objects" in result.output
    pictures = [frame.image for frame in read_video(out / "demo_mot.mp4")]
    assert len(pictures) == 50
    assert pictures[0].shape == (720, 960, 3)


def test_the_box_lies_on_what_moves(clip):
    machine = demo_many.make_chain("motion", print)
    *_, last = replay(machine, read_video(clip))
    (output,) = last.outputs
    (box,) = output.item.boxes
    assert box.state is State.CONFIRMED
    left = 60 + 3 * 49
    assert box.box == pytest.approx([left, 100, left + SIZE, 100 + SIZE], abs=14)


def test_shots_of_the_sample_clip_are_apart(tmp_path):
    frames = list(demo_many.sample_shots())
    gaps = np.diff([frame.stamp for frame in frames])
    assert len(frames) == 250 - demo_many.CUTS[0]
    assert (gaps > 9 * NANOSECONDS).sum() == len(demo_many.CUTS) - 1
    seen = demo_many.follow(frames[160:200], demo_many.make_chain("motion", print), tmp_path / "a.mp4", lambda: None)
    assert seen.frames == 40
    assert seen.ids  # somebody walks by
    assert sum(1 for _ in read_video(tmp_path / "a.mp4")) == 40
