import cv2
import numpy as np
import pytest

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.evaluation.datasets import find_sequences
from deep_tracking_ros.evaluation.peers import box_to_rectangle, make_peer, peers, rectangle_to_box
from deep_tracking_ros.evaluation.sot import measure, run


@pytest.fixture(autouse=True)
def one_thread():
    cv2.setNumThreads(1)


def test_rectangles_of_opencv_are_whole_pixels_inside_of_the_image():
    assert box_to_rectangle([9.5, 4.5, 19.5, 24.5], 60, 40) == (10, 5, 10, 20)
    np.testing.assert_array_equal(rectangle_to_box((10, 5, 10, 20)), [9.5, 4.5, 19.5, 24.5])
    assert box_to_rectangle([-5.5, 30.5, 9.5, 49.5], 60, 40) == (0, 31, 10, 9)
    assert box_to_rectangle([9.88, 4.2, 19.3, 24.5], 60, 40) == (10, 5, 9, 20)


# AUC and precision at 20 px that were measured by another program with the same OpenCV; a half-pixel slip in the way
# of the boxes, the first frame left out or another set of thresholds would change the third decimal
@pytest.mark.parametrize(
    ("name", "auc", "precision"), [("Crossing", 0.079, 0.17), ("Bike", 0.341, 0.32), ("Basketball-oov", 0.028, 0.03)]
)
def test_kcf_agrees_with_an_independent_measurement(reference, name, auc, precision):
    if not cv2.__version__.startswith("5.0.0"):
        pytest.skip(f"measured with OpenCV 5.0.0, this is {cv2.__version__}")
    (sequence,) = find_sequences(reference("data/sot"), [name])
    m = measure(run(make_peer("opencv-kcf"), sequence))
    assert m.auc == pytest.approx(auc, abs=0.0006)
    assert m.precision_20 == pytest.approx(precision, abs=0.0051)
    assert np.isnan(m.calibration_error)


def test_nanotrack_agrees_with_an_independent_measurement(reference):
    weights = reference("weights/nanotrackv2")
    (sequence,) = find_sequences(reference("data/sot"), ["wakeboard7"])
    assert measure(run(make_peer("opencv-nano", weights.parent), sequence)).auc == pytest.approx(0.810, abs=0.002)


def test_peers_with_weights_are_listed_where_these_are(tmp_path):
    assert peers() == peers(tmp_path) == ["opencv-csrt", "opencv-kcf", "opencv-mil"]
    (tmp_path / "nanotrackv3").mkdir()
    for name in ("nanotrack_backbone_sim.onnx", "nanotrackv3/nanotrack_head.onnx"):
        (tmp_path / name).touch()
    assert "opencv-nano" not in peers(tmp_path)  # the only head is of the version that OpenCV cannot run
    (tmp_path / "nanotrack_head_sim.onnx").touch()
    (tmp_path / "object_tracking_vittrack_2023sep.onnx").touch()
    assert peers(tmp_path)[3:] == ["opencv-nano", "opencv-vit"]


def test_wrong_peers_say_what_is_needed(tmp_path):
    with pytest.raises(InvalidRequestError, match="no peer 'opencv-goturn'; there are opencv-csrt"):
        make_peer("opencv-goturn")
    with pytest.raises(DataError, match=r"needs \*nanotrack\*backbone"):
        make_peer("opencv-nano", tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        make_peer("opencv-vit", tmp_path / "nowhere")
