from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.errors import DataError, InvalidImageError
from deep_tracking_ros.pipelines.sources import cut, image_files, merged, read_images, read_video, video_length
from deep_tracking_ros.types import Camera, Detections, Frame, StaticTransforms, Transform, Transforms


def grey(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def write_video(path, milliseconds, codec="libx264"):
    """A video with a picture at each of these times, each brighter than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, ms in enumerate(milliseconds):
            picture = av.VideoFrame.from_ndarray(grey(20 + 20 * i), format="bgr24")
            picture.pts, picture.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def test_a_video_has_the_times_of_its_file(tmp_path):
    write_video(tmp_path / "drive.mp4", [0, 40, 80, 200, 203, 1000])
    frames = list(read_video(tmp_path / "drive.mp4"))
    assert [frame.stamp for frame in frames] == [0, 40_000_000, 80_000_000, 200_000_000, 203_000_000, 10**9]
    assert {frame.frame_id for frame in frames} == {"drive"}
    assert frames[0].image.shape == (48, 64, 3)
    np.testing.assert_allclose([f.image.mean() for f in frames], 20 + 20 * np.arange(6), atol=5)
    assert video_length(tmp_path / "drive.mp4") == 6


def test_a_video_that_begins_later_begins_at_0(tmp_path):
    write_video(tmp_path / "cut.mkv", [500, 540])
    assert [frame.stamp for frame in read_video(tmp_path / "cut.mkv")] == [0, 40_000_000]


def test_files_that_are_no_video_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video")
    with pytest.raises(DataError, match=r"text\.mp4 cannot be read as a video"):
        next(read_video(tmp_path / "text.mp4"))
    with pytest.raises(DataError, match=r"there is no video .*missing\.mp4"):
        next(read_video(tmp_path / "missing.mp4"))
    assert video_length(tmp_path / "text.mp4") is None
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DataError, match="no video stream"):
        next(read_video(tmp_path / "sound.wav"))


def test_images_come_in_natural_order_with_even_times(tmp_path):
    for i in (1, 2, 10, 9):
        cv2.imwrite(str(tmp_path / f"f{i}.png"), grey(i))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = list(read_images(tmp_path, fps=25))
    assert [frame.image[0, 0, 0] for frame in frames] == [1, 2, 9, 10]
    assert [frame.stamp for frame in frames] == [0, 40_000_000, 80_000_000, 120_000_000]
    assert [f.name for f in image_files(tmp_path / "f1*.png")] == ["f1.png", "f10.png"]
    assert [f.name for f in image_files(tmp_path / "f2.png")] == ["f2.png"]


def test_an_image_is_read_when_it_is_looked_at(tmp_path):
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"f{i}.png"), grey(i))
    (tmp_path / "f3.png").write_bytes(b"broken")
    (tmp_path / "f4.png").write_bytes(b"")
    frames = list(read_images(tmp_path))
    assert frames[0].nbytes == 0
    assert frames[0].image.nbytes == frames[0].nbytes == 48 * 64 * 3
    for frame in frames[2:]:
        with pytest.raises(InvalidImageError, match=r"f[34]\.png cannot be read as an image"):
            _ = frame.image


def test_no_images_and_a_useless_rate_are_errors(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        next(read_images(tmp_path))
    with pytest.raises(DataError, match=r"no file matches .*\*\.png"):
        next(read_images(tmp_path / "*.png"))
    with pytest.raises(DataError, match="frame rate is 0"):
        next(read_images(tmp_path, fps=0))


def test_cut_counts_from_the_first_frame():
    def frames():
        for i in range(100):
            yield Frame(grey(0), 5 * 10**9 + i * 10**8)

    assert [round(f.stamp / 1e8) - 50 for f in cut(frames(), 0.2, 0.5)] == [2, 3, 4, 5]
    assert len(list(cut(frames()))) == 100
    endless = iter(lambda: Frame(grey(0), 7), None)
    assert len(list(islice(cut(endless), 3))) == 3


def told(*seconds, port="a"):
    return [(port, Detections(round(s * 10**9), "", ())) for s in seconds]


stamps = st.lists(st.integers(0, 5), max_size=12)


@given(st.lists(stamps, min_size=1, max_size=3))
def test_recordings_become_one_and_each_keeps_its_order(recordings):
    streams = [told(*sorted(seconds), port=str(row)) for row, seconds in enumerate(recordings)]
    found = list(merged(streams))
    assert [item.stamp for _, item in found] == sorted(round(s * 10**9) for seconds in recordings for s in seconds)
    for row, stream in enumerate(streams):
        assert [one for one in found if one[0] == str(row)] == stream
    # of equal stamps the stream named first goes first
    assert [(item.stamp, port) for port, item in found] == sorted((item.stamp, port) for port, item in found)


def test_what_is_late_and_what_has_no_time_stays_in_its_place():
    still = StaticTransforms((Transform(9 * 10**9, "a", "b", np.eye(4)),))
    camera = Camera(1, 1, np.eye(3), np.zeros(5))
    first = [("x", still), ("x", camera), *told(1, 3, 2.5, port="x"), ("x", camera), *told(4, port="x")]
    moving = [("y", Transforms((Transform(s * 10**9, "a", "b", np.eye(4)),))) for s in (2, 3, 5)]
    found = list(merged([first, moving]))
    assert [port for port, _ in found] == list("xxxyxxxyxy")
    assert [one for one in found if one[0] == "x"] == first


def test_recordings_that_begin_again_wait_for_each_other():
    found = list(merged([told(1, 2, 3, 1, 2, port="x"), told(2.5, 9, 0.5, 1.5, port="y")]))
    assert [(port, item.stamp / 1e9) for port, item in found] == [
        ("x", 1), ("x", 2), ("y", 2.5), ("x", 3), ("y", 9), ("y", 0.5), ("x", 1), ("y", 1.5), ("x", 2)
    ]  # fmt: skip
