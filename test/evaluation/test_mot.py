import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.evaluation import mot

TRACKEVAL = importlib.util.find_spec("trackeval") is not None
PEERS = TRACKEVAL and importlib.util.find_spec("trackers") is not None
needs_trackeval = pytest.mark.skipif(not TRACKEVAL, reason="trackeval is not installed (extra eval)")


@pytest.fixture
def data(tmp_path):
    """Two people who walk past each other's lane for 20 frames; perfect detections."""
    folder = tmp_path / "set" / "walk"
    (folder / "det").mkdir(parents=True)
    (folder / "gt").mkdir()
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=walk\nframeRate=25\nseqLength=21\nimWidth=640\nimHeight=480\n"
    )
    truth, found = [], []
    for frame in range(1, 21):
        for id_, (x, y) in enumerate([(50 + 4 * frame, 100), (400 - 4 * frame, 300)], 1):
            truth.append(f"{frame},{id_},{x},{y},40,80,1,1,1")
            found.append(f"{frame},-1,{x},{y},40,80,0.9,-1,-1,-1")
    (folder / "gt/gt.txt").write_text("\n".join(truth))
    (folder / "det/det.txt").write_text("\n".join(found))
    return tmp_path / "set"


@needs_trackeval
def test_perfect_tracks_reach_one(data):
    result = mot.evaluate(mot.ours(), mot.find_sequences(data))
    assert result.overall == mot.Measures(1.0, 1.0, 1.0, 1.0, 1.0, 0)
    assert result.frames == 21  # the last one has neither truth nor detections


@needs_trackeval
def test_a_switch_of_ids_is_counted_and_halves_the_association(data):
    (sequence,) = mot.find_sequences(data)
    results = []
    for k, (boxes, _) in enumerate(sequence.frames):
        ids = np.array([1, 2]) if k < 10 else np.array([2, 1])
        results.append((ids[: len(boxes)], boxes))
    overall, each = mot.measure([sequence], {"walk": results})
    assert overall.id_switches == 2
    assert overall.deta == pytest.approx(1)
    assert overall.assa == pytest.approx(10 / 30)  # of 20 + 20 boxes 10 are shared
    assert overall.mota == pytest.approx(1 - 2 / 40)
    assert each["walk"] == overall


@needs_trackeval
def test_command_writes_a_table_and_json(data, tmp_path):
    report = tmp_path / "report.json"
    arguments = ["eval", "mot", "--data", str(data), "--json", str(report)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "100.00" in result.output
    values = json.loads(report.read_text())
    assert {"hota", "deta", "assa", "mota", "idf1", "id_switches", "fps", "per_sequence"} <= set(values)
    assert values["hota"] == 1.0
    assert values["fps"] > 0
    assert values["per_sequence"]["walk"]["id_switches"] == 0


@pytest.mark.skipif(not PEERS, reason="trackers is not installed (extra eval)")
@pytest.mark.parametrize("name", list(mot.PEERS))
def test_peers_follow_two_people(data, name):
    result = mot.evaluate(mot.peer(name), mot.find_sequences(data))
    assert result.overall.hota > 0.8  # they confirm later
    assert result.overall.id_switches == 0


def test_what_is_missing_is_named(data, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"has no sequence: a folder with seqinfo\.ini"):
        mot.find_sequences(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(InvalidRequestError, match=r"Python package (trackers|supervision)"):
        mot.peer("sort")
    (data / "walk/det/det.txt").write_text("1,2\n")
    with pytest.raises(DataError, match="walk"):
        mot.find_sequences(data)
    (data / "walk/det/det.txt").write_text("1,-1,0,0,20,50,90\n")
    with pytest.raises(DataError, match=r"det\.txt has a score of 90; scores must be 0 to 1"):
        mot.find_sequences(data)
    shutil.rmtree(data / "walk/gt")
    with pytest.raises(DataError, match="walk"):
        mot.find_sequences(data)


@needs_trackeval
def test_real_people_are_followed(reference):
    (sequence,) = mot.find_sequences(reference("data/mot") / "MOT17" / "MOT17-09")
    result = mot.evaluate(mot.ours(), [sequence])
    assert sequence.rate == 30
    assert result.overall.hota > 0.66
    assert result.overall.id_switches < 30
