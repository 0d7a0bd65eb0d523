"""Which parameters a node has beside those of its pipeline: those that do something there."""

import pytest

from deep_tracking_ros.parameters import declared
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.ros.parameters import draws, node_parameters

SENSORS = {"image_reliability", "image_depth"}
EXPECTED = {
    "single_object_tracker": SENSORS | {"image_transport", "overlay_rate"},
    "detector": SENSORS | {"image_transport", "overlay_rate"},
    "multi_object_tracker": SENSORS | {"image_transport"},  # images are for the camera's motion, results of detections
    "multi_object_tracker_3d": set(),
    "lidar_proposals": SENSORS,
    "fusion": set(),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_node_has_parameters_of_images_where_it_takes_some(name):
    names = {p.name for kind in node_parameters(PIPELINES[name]) for p in declared(kind)}
    assert names & (SENSORS | {"image_transport", "overlay_rate"}) == EXPECTED[name]
    assert names >= {"intake", "intake_limit", "autostart", "diagnostics_period"}
    assert draws(PIPELINES[name]) == ("overlay_rate" in names)
