import av
import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.pipelines.sources import read_video
from deep_tracking_ros.visualization.video import VideoWriter

MS = 1_000_000


def picture(value, width=64, height=48):
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, : width // 2] = value
    return image


def times(path):
    return [round(frame.stamp / MS) for frame in read_video(path)]


def test_pictures_are_shown_at_the_times_of_their_stamps(tmp_path):
    path = tmp_path / "new" / "out.mp4"
    stamps = [0, 33, 100, 140, 1500]
    with VideoWriter(path) as writer:
        for i, ms in enumerate(stamps):
            writer.write(picture(20 + 40 * i), 1_700_000_000 * 10**9 + ms * MS)
            assert not path.exists()
    assert times(path) == stamps
    for i, frame in enumerate(read_video(path)):
        np.testing.assert_allclose(frame.image[:, 8:24].mean(), 20 + 40 * i, atol=4)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]


def test_without_h264_it_is_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with VideoWriter(tmp_path / "out.mp4") as writer:
        for i in range(3):
            writer.write(picture(100), i * 40 * MS)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert times(tmp_path / "out.mp4") == [0, 40, 80]


def test_odd_sizes_and_other_sizes_fit(tmp_path):
    with VideoWriter(tmp_path / "out.mp4") as writer:
        for i, (width, height) in enumerate([(63, 47), (63, 47), (126, 94)]):
            writer.write(picture(200, width, height), i * 40 * MS)
    frames = list(read_video(tmp_path / "out.mp4"))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    for frame in frames:
        np.testing.assert_allclose(frame.image[:, :24].mean(), 200, atol=4)


def test_a_step_back_and_a_long_pause_go_on_at_once(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", fps=25) as writer:
        for ms in (0, 40, 80, 0, 40, 9000, 9040):
            writer.write(picture(100), ms * MS)
    assert times(tmp_path / "out.mp4") == [0, 40, 80, 120, 160, 200, 240]


def test_after_an_exception_there_is_no_half_file_and_an_old_one_stays(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), VideoWriter(path) as writer:  # noqa: PT012
        writer.write(picture(100), 0)
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_without_a_picture_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"out\.mp4 cannot be written"):
        VideoWriter(tmp_path / "file" / "out.mp4")


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name) as writer:
            for i in range(10):
                writer.write(picture(10 * i), i * 40 * MS)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
