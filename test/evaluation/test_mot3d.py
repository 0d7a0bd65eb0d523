import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation import kitti
from deep_tracking_ros.evaluation.kitti import Objects, Sequence3D
from deep_tracking_ros.evaluation.mot3d import evaluate, run
from deep_tracking_ros.geometry.boxes3d import corners

FAR = [1000, 1000, 1100, 1100]


def objects(rows):
    """Rows of frame, id, x, and what differs from a good car."""
    n = len(rows)
    more = [row[3] if len(row) > 3 else {} for row in rows]
    boxes = np.array([[row[2], 0, 0, 4, 2, 2, 0] for row in rows], float).reshape(n, 7)
    return Objects(
        frame=np.array([row[0] for row in rows], int),
        boxes=boxes,
        image_boxes=np.array([m.get("image", FAR) for m in more], float).reshape(n, 4),
        score=np.array([m.get("score", 1.0) for m in more], float),
        id=np.array([row[1] for row in rows], int),
        kind=np.array([m.get("kind", "car") for m in more], np.str_),
        truncation=np.array([m.get("truncation", 0) for m in more], int),
        occlusion=np.array([m.get("occlusion", 0) for m in more], int),
    )


def measured(truth, results, **options):
    frames = 1 + max(row[0] for row in [*truth, *results])
    truth = objects(truth)
    sequence = Sequence3D("0000", frames, truth, objects([]), np.eye(3, 4), np.tile(np.eye(4), (frames, 1, 1)))
    return evaluate([sequence], [objects(results)], "Car", **options)


def test_perfect_tracks():
    truth = [(f, i, 10 * i) for f in range(50) for i in range(4)]
    m = measured(truth, truth)
    # all scores are equal: every threshold keeps everything, 40 of 40 points are reached
    assert (m.samota, m.best.mota, m.best.motp, m.best.id_switches) == (1, 1, 1, 0)
    assert len(m.curve) == 40
    assert m.amota == pytest.approx(1)


def test_recall_that_is_not_reached_counts_as_zero():
    truth = [(f, i, 10 * i) for f in range(50) for i in range(4)]
    m = measured(truth, [row for row in truth if row[1] < 2])
    # half of the truth is found: 20 points, at each of which 100 of 200 are missed
    assert len(m.curve) == 20
    assert m.amota == pytest.approx(0.5 * 20 / 40)
    assert m.best.misses == 100
    last = m.curve[-1]
    assert last.recall == pytest.approx(0.5)
    assert last.smota == pytest.approx(1)  # the misses are what a recall of one half leaves
    assert m.samota == pytest.approx(20 / 40)


def test_a_switch_needs_a_match_in_the_frame_before():
    truth = [(f, 1, 0) for f in range(6)]
    assert measured(truth, [(f, 7 if f < 3 else 8, 0) for f in range(6)]).best.id_switches == 1
    gap = [(f, 7 if f < 2 else 8, 0) for f in range(6) if f != 2]
    assert measured(truth, gap).best.id_switches == 0


def test_an_ignored_frame_forgets_the_id():
    truth = [(f, 1, 0, {"occlusion": 3 if f == 3 else 0}) for f in range(6)]
    results = [(f, 7 if f < 3 else 8, 0) for f in range(6)]
    m = measured(truth, results)
    assert m.best.id_switches == 0
    assert m.best.true_positives == 6  # with the ignored one
    assert m.best.mota == 1


@pytest.mark.parametrize("why", [{"occlusion": 3}, {"truncation": 1}, {"kind": "van"}])
def test_truth_that_is_ignored_is_neither_hit_nor_miss(why):
    truth = [(f, 1, 0) for f in range(9)] + [(f, 2, 20, why) for f in range(9)]
    found = measured(truth, [(f, 1, 0) for f in range(9)]).best
    assert (found.misses, found.false_positives, found.mota) == (0, 0, 1)
    both = measured(truth, [(f, i, 20 * i - 20) for f in range(9) for i in (1, 2)]).best
    assert (both.misses, both.false_positives, both.mota) == (0, 0, 1)


@pytest.mark.parametrize(
    ("image", "wrong"), [([0, 0, 50, 25], 0), ([0, 0, 50, 26], 9), ([100, 100, 200, 200], 0), ([100, 100, 260, 200], 9)]
)
def test_small_boxes_and_those_in_unlabelled_areas_are_not_wrong(image, wrong):
    area = {"kind": "dontcare", "image": [100, 100, 178, 200]}
    truth = [(f, 1, 0) for f in range(9)] + [(f, -1, -900, area) for f in range(9)]
    results = [(f, 1, 0) for f in range(9)] + [(f, 2, 50, {"image": image}) for f in range(9)]
    assert measured(truth, results).best.false_positives == wrong


def test_the_threshold_is_on_the_mean_score_of_a_track():
    truth = [(f, 1, 0) for f in range(10)]
    results = [(f, 1, 0, {"score": 1.0}) for f in range(10)]
    results += [(f, 2, 30, {"score": 9.0 if f == 0 else 0.0}) for f in range(10)]
    assert measured(truth, results).best.false_positives == 0


def test_overlap_below_the_limit_is_no_match():
    truth = [(f, 1, 0) for f in range(5)]
    results = [(f, 1, 2) for f in range(5)]  # IoU 1/3
    assert measured(truth, results, min_iou=0.25).best.mota == 1
    assert measured(truth, results, min_iou=0.5).best.mota < 0


def test_nothing_found():
    m = measured([(0, 1, 0)], [])
    assert (m.samota, m.amota, m.best.misses) == (0, 0, 1)


def test_an_id_twice_in_a_frame_is_an_error():
    with pytest.raises(DataError, match="two boxes in one frame"):
        measured([(0, 1, 0)], [(0, 1, 0), (0, 1, 30)])


def test_camera_boxes_become_boxes_with_z_up():
    # a car 10 m ahead and 2 m to the right, standing 1.6 m below the camera, pointing ahead
    box = kitti.from_camera([[2, 1.6, 10, 4, 1.8, 1.4, -np.pi / 2]])[0]
    np.testing.assert_allclose(box, [10, -2, -0.9, 4, 1.8, 1.4, 0], atol=1e-9)
    to_the_right = kitti.from_camera([[2, 1.6, 10, 4, 1.8, 1.4, 0]])[0]
    heading = corners(to_the_right)[[0, 3]].mean(0) - to_the_right[:2]
    np.testing.assert_allclose(heading, [0, -2], atol=1e-9)


def test_projected_labels_fall_on_the_labelled_boxes(reference):
    data = reference("data/kitti_tracking")
    truth = kitti.read_labels(data / "label_02" / "0001.txt")
    whole = (truth.kind == "car") & (truth.truncation == 0) & (truth.occlusion == 0)
    truth = truth.select(whole)
    box, visible = kitti.project(truth.boxes, kitti.read_projection(data / "calib" / "0001.txt"))
    assert visible.mean() > 0.99
    assert np.median(np.abs(box - truth.image_boxes)) < 3  # px


def test_car_validation_reaches_the_published_row(reference):
    """AB3DMOT's row with these detections is sAMOTA 93.34, MOTA 86.47 and no switches."""
    sequences = kitti.read_sequences(reference("data/kitti_tracking"), "Car")
    assert sum(s.frames for s in sequences) == 3908
    results, seconds = run(sequences, "Car")
    m = evaluate(sequences, results, "Car")
    assert m.samota > 0.9334
    assert m.amota > 0.4539
    assert m.best.mota > 0.8647
    assert m.best.id_switches == 0
    assert seconds > 0


def test_command_writes_the_measures(tmp_path):
    folders = {name: tmp_path / name for name in ("label_02", "calib", "detections/some_Car_val")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (tmp_path / "evaluate_tracking.seqmap.val").write_text("0003 empty 000000 000019\n")
    place = "600 150 700 250 1.5 1.8 4.0 0.5 1.6 {z} -1.57"
    label = "{f} 1 Car 0 0 0 " + place
    (folders["label_02"] / "0003.txt").write_text("\n".join(label.format(f=f, z=10 + f / 2) for f in range(20)))
    detection = "{f},2,600,150,700,250,6.0,1.5,1.8,4.0,0.5,1.6,{z},-1.57,0"
    rows = [detection.format(f=f, z=10 + f / 2) for f in range(20)]
    (folders["detections/some_Car_val"] / "0003.txt").write_text("\n".join(rows))
    (folders["calib"] / "0003.txt").write_text("P2: 700 0 600 0 0 700 180 0 0 0 1 0\n")
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["eval", "mot3d", "--data", str(tmp_path), "--json", str(out)])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert {"samota", "amota", "amotp", "mota", "motp", "id_switches", "fps"} <= set(written)
    assert written["mota"] == 1
    assert written["id_switches"] == 0
    missing = CliRunner().invoke(app, ["eval", "mot3d", "--data", str(tmp_path / "none")])
    assert missing.exit_code != 0
