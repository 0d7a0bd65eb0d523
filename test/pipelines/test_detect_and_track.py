import numpy as np

from deep_tracking_ros.pipelines.detect_and_track import DetectAndTrackPipeline
from deep_tracking_ros.pipelines.detector import DetectorParameters
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters
from deep_tracking_ros.types import Frame


def test_what_the_tracker_warns_of_is_heard():
    parts = DetectorParameters(model="motion"), MultiObjectParameters(camera_motion=True)
    pipeline = DetectAndTrackPipeline.make(parts)
    frame = Frame(np.zeros((60, 80, 3), np.uint8), 10**9, "camera")
    assert len(list(pipeline.step("image", frame))) == 1
    (warning,) = pipeline.warnings()
    assert "no images have come" in warning
    pipeline.remember("image", frame)
    after = Frame(frame.image, 2 * 10**9, "camera")
    pipeline.remember("image", after)
    list(pipeline.step("image", after))
    assert pipeline.warnings() == ()
