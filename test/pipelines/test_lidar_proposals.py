import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.evaluation.lidar_scene import Scene, Thing
from deep_tracking_ros.pipelines.lidar_proposals import LidarProposalsParameters, LidarProposalsPipeline
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.pipelines.pipeline import Output
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.types import Cloud, Odometry, State

DT, START = 100_000_000, 100 * 10**9
CAR, PERSON = (4.5, 1.8, 1.55), (0.55, 0.6, 1.75)
SCENE = Scene(
    [Thing("car", CAR, 14, 4, speed=8), Thing("car", CAR, 16, -5), Thing("pedestrian", PERSON, 9, 0.5, 1.57, 1.2)],
    speed=5.0,
)


def cloud(points, k=0, frame_id="lidar"):
    return Cloud(START + k * DT, frame_id, np.asarray(points, np.float32))


def make(**parameters):
    return LidarProposalsPipeline(LidarProposalsParameters(**parameters))


def feed(pipeline, *items):
    return [output.item for item in items for output in pipeline.step("points", item)]


def test_a_sweep_becomes_detections_where_things_are():
    sweep = SCENE.sweep(0)
    (result,) = feed(make(), cloud(sweep.cloud.points))
    assert (result.stamp, result.frame_id) == (START, "lidar")
    assert sorted(d.label for d in result.detections) == ["car", "car", "pedestrian"]
    for box, label in zip(sweep.boxes, sweep.labels, strict=True):
        near = [d for d in result.detections if np.linalg.norm(d.pose[:3, 3] - box[:3]) < 0.5]
        assert [d.label for d in near] == [label]
        assert near[0].size == pytest.approx(box[3:6], abs=0.5)
        assert 0 <= near[0].score <= 1
        assert np.abs(near[0].pose[:3, :3] @ near[0].pose[:3, :3].T - np.eye(3)).max() < 1e-9


def test_one_result_per_sweep_duplicates_and_late_ones_are_counted():
    pipeline = make()
    points = SCENE.sweep(0).cloud.points
    results = feed(
        pipeline, cloud(points), cloud(points[:0], 1), cloud(points * np.nan, 2), cloud(points, 2), cloud(points, 1)
    )
    assert [r.stamp for r in results] == [START + k * DT for k in range(3)]
    assert [len(r.detections) for r in results] == [3, 0, 0]
    status = pipeline.status()
    assert (status["frames"], status["duplicates"], status["late"], status["jumps"]) == (3, 1, 1, 0)
    assert (status["points"], status["cars"], status["pedestrians"]) == (len(points), 0, 0)
    assert len(feed(pipeline, cloud(points, -100))) == 1
    assert pipeline.status()["jumps"] == 1
    pipeline.reset("test")
    assert len(feed(pipeline, cloud(points, -100))) == 1


def test_classes_and_scores_that_are_not_asked_for_are_not_given():
    points = SCENE.sweep(0).cloud.points
    (cars,) = feed(make(classes=" car, truck"), cloud(points))
    assert [d.label for d in cars.detections] == ["car", "car"]
    (sure,) = feed(make(least_score=0.97), cloud(points))
    assert all(d.score >= 0.97 for d in sure.detections)
    assert len(sure.detections) < 3


@pytest.mark.parametrize(
    ("parameters", "answer"),
    [
        ({"nearest": 90.0}, "nearest is 90 m, it must be below furthest, 80 m"),
        ({"ceiling": 1.0, "clearance": 1.5}, r"clearance is 1\.5 m, it must be below ceiling, 1 m"),
        ({"classes": "car,tram"}, "classes names tram; known are car, truck, pedestrian, cyclist"),
    ],
)
def test_parameters_that_contradict_each_other(parameters, answer):
    with pytest.raises(InvalidRequestError, match=answer):
        make(**parameters)


def test_it_is_registered():
    assert PIPELINES["lidar_proposals"] is LidarProposalsPipeline
    with pytest.raises(InvalidRequestError, match="str is no command of lidar_proposals"):
        make().command("?")


def test_the_tracker_in_space_gives_its_detections_ids_and_velocity():
    finder = make()
    tracker = MultiObject3DPipeline(MultiObject3DParameters(ego_motion="odometry"))
    boxes = []
    for k in range(12):
        sweep = SCENE.sweep(k)
        odometry = Odometry(START + k * DT, "odom", "lidar", sweep.pose)
        tracker.remember("odometry", odometry)
        list(tracker.step("odometry", odometry))
        for found in finder.step("points", cloud(sweep.cloud.points, k)):
            boxes += [output.item for output in tracker.step("detections", found.item) if isinstance(output, Output)]
    assert [len(result.boxes) for result in boxes] == [3] * 12
    assert {tuple(b.id for b in result.boxes) for result in boxes} == {(1, 2, 3)}
    last = boxes[-1]
    assert all(b.state is State.CONFIRMED for b in last.boxes)
    for box, velocity in zip(sweep.boxes, sweep.velocity, strict=True):
        (track,) = [b for b in last.boxes if np.linalg.norm(b.pose[:2, 3] - box[:2]) < 0.5]
        assert track.velocity[:2] == pytest.approx(velocity, abs=0.8)
