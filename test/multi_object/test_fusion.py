import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.geometry.poses import poses_of
from deep_tracking_ros.multi_object.fusion import FusionSettings, fuse, outlines

K = np.array([[700.0, 0, 620], [0, 700, 187], [0, 0, 1]])
SIZE = (1240, 375)
# robot axes (x forward, y left, z up) in the camera's (x right, y down, z forward)
CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
SURE, UNSURE = 2.0, 0.0


def project(*boxes):
    table = np.array(boxes, float)
    return outlines(poses_of(table), table[:, 3:6], CAMERA, K)


def samples(box, n=25):
    """Points all over the surface and inside of a box, in the image; only those before the camera."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, n)] * 3), -1).reshape(-1, 3) * box[3:6]
    points = grid @ poses_of(box)[0, :3, :3].T + box[:3]
    points = points[points[:, 0] > 0.1] @ CAMERA[:3, :3].T
    pixels = points @ K.T
    return pixels[:, :2] / pixels[:, 2:]


class TestOutlines:
    def test_by_hand(self):
        seen, depth = project([10, 0, 0, 2, 2, 1, 0])
        # the nearer face is 9 m away: 700 * 1 / 9 px to either side
        assert seen[0] == pytest.approx([620 - 700 / 9, 187 - 350 / 9, 620 + 700 / 9, 187 + 350 / 9])
        assert depth[0] == pytest.approx(10)

    @given(st.floats(-3, 40), st.floats(-10, 10), st.floats(-2, 2), st.floats(-np.pi, np.pi))
    @settings(max_examples=100, deadline=None)
    def test_outlines_hold_all_that_is_before_the_camera(self, x, y, z, yaw):
        box = np.array([x, y, z, 4.5, 1.8, 1.5, yaw])
        (seen,), _ = project(box)
        pixels = samples(box)
        if len(pixels) == 0:
            return
        assert (pixels >= seen[:2] - 1e-6).all()
        assert (pixels <= seen[2:] + 1e-6).all()
        if x > 5:  # wholly before the camera: the outline is tight
            assert pixels.min(0) == pytest.approx(seen[:2], abs=1e-6)
            assert pixels.max(0) == pytest.approx(seen[2:], abs=1e-6)

    def test_behind_and_across_the_camera(self):
        seen, depth = project([-10, 0, 0, 4, 2, 1, 0], [1, 1.5, 0, 4, 1.8, 1.5, 0])
        assert np.isnan(seen[0]).all()
        assert depth[0] < 0
        assert np.isfinite(seen[1]).all()
        assert seen[1, 0] < -1000  # what is beside the camera reaches far beyond the left border
        assert outlines(np.zeros((0, 4, 4)), np.zeros((0, 3)), CAMERA, K)[0].shape == (0, 4)


def fuse_boxes(boxes, odds, images, scores=None, **changes):
    seen, depth = project(*boxes)
    there = np.array(images, float).reshape(-1, 4)
    given = np.full(len(there), 0.95) if scores is None else np.array(scores)
    return fuse(seen, depth, np.array(odds), there, given, SIZE, FusionSettings(**changes))


NEAR, FAR, LEFT = [12, 0, -0.5, 4.5, 1.8, 1.5, 0], [25, 0, -0.5, 4.5, 1.8, 1.5, 0], [15, 5, -0.5, 4.5, 1.8, 1.5, 0]


class TestFuse:
    def test_who_is_seen_gains_and_who_should_be_loses(self):
        (box,), _ = project(NEAR)
        found = fuse_boxes([NEAR, LEFT], [SURE, SURE], [box + 3])
        assert found.image_row.tolist() == [0, -1]
        assert found.odds == pytest.approx([SURE + np.log(9), SURE + np.log(0.1)])

    def test_scores_count_up_to_the_precision_of_the_camera(self):
        (box,), _ = project(NEAR)
        for score, gain in ((1.0, np.log(9)), (0.8, np.log(4)), (0.3, 0.0), (-1.0, np.log(9))):
            assert fuse_boxes([NEAR], [UNSURE], [box], [score]).odds == pytest.approx([gain])

    def test_each_box_in_the_image_is_one_object(self):
        (box,), _ = project(NEAR)
        beside = [12, 0.4, -0.5, 4.5, 1.8, 1.5, 0]
        found = fuse_boxes([beside, NEAR], [SURE, SURE], [box])
        assert found.image_row.tolist() == [-1, 0]

    @pytest.mark.parametrize(
        ("boxes", "why"),
        [
            ([NEAR, FAR], "hidden by a nearer one"),
            ([[90, 0, -0.5, 4.5, 1.8, 1.5, 0]], "too small"),
            ([[-12, 0, -0.5, 4.5, 1.8, 1.5, 0]], "behind the camera"),
            ([[6, 7.5, -0.5, 4.5, 1.8, 1.5, 0]], "mostly beyond the border"),
        ],
    )
    def test_of_whom_the_camera_can_know_nothing(self, boxes, why):
        found = fuse_boxes(boxes, [SURE] * len(boxes), [])
        assert found.odds[-1] == SURE, why

    @pytest.mark.parametrize(
        ("mine", "theirs", "linked"), [(0, 0, True), (0, 1, False), (-1, 1, True), (1, -1, True), (-1, -1, True)]
    )
    def test_what_cannot_be_the_same_is_not_linked(self, mine, theirs, linked):
        seen, depth = project(LEFT, NEAR)
        kinds = np.array([0, mine]), np.array([theirs])
        found = fuse(seen, depth, np.zeros(2), seen[1:], np.ones(1), SIZE, FusionSettings(), kinds)
        assert found.image_row.tolist() == [-1, 0 if linked else -1]

    @given(st.permutations(range(3)))
    @settings(deadline=None)
    def test_order_does_not_matter(self, order):
        boxes, images = [NEAR, LEFT, FAR], project(NEAR, LEFT)[0]
        one = fuse_boxes(boxes, [SURE, UNSURE, SURE], images)
        other = fuse_boxes([boxes[k] for k in order], [[SURE, UNSURE, SURE][k] for k in order], images)
        assert other.image_row.tolist() == [one.image_row[k] for k in order]
        assert other.odds == pytest.approx(one.odds[list(order)])

    def test_nothing_on_either_side(self):
        found = fuse(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros((0, 4)), np.zeros(0), SIZE)
        assert found.image_row.shape == found.odds.shape == (0,)
        (box,), _ = project(NEAR)
        found = fuse(np.zeros((0, 4)), np.zeros(0), np.zeros(0), box[None], np.ones(1), SIZE)
        assert found.odds.shape == (0,)


def test_on_kitti_fusion_finds_more_at_the_same_cost(reference):
    """Two sequences of cars: fewer errors in all than by lidar alone, and a better average over all recalls."""
    from benchmarks.fusion import fused, image_tracks
    from deep_tracking_ros.evaluation.kitti import read_sequences
    from deep_tracking_ros.evaluation.mot3d import evaluate, run

    data = reference("data/kitti_tracking")
    sequences = [s for s in read_sequences(data, "Car") if s.name in ("0001", "0006")]
    assert len(sequences) == 2
    alone, _ = run(sequences, "Car")
    both = []
    for sequence, one in zip(sequences, alone, strict=True):
        tracks = image_tracks(data / "detections" / "rrc_Car_2d", sequence)
        result, linked = fused(one, tracks, FusionSettings())
        assert linked > 0.3 * len(one)
        assert (result.id == one.id).all()
        both.append(result)
    before, after = (evaluate(sequences, results, "Car") for results in (alone, both))
    assert after.best.mota > before.best.mota
    assert after.amota > before.amota
