"""Each layout against outputs made by hand: boxes that are known go in, and must come out in pixels of the image."""

import numpy as np
import pytest
from small_graphs import SIZE, saying

from deep_tracking_ros.detection.detector import Filter
from deep_tracking_ros.detection.registry import FAMILIES, make_detector

ROWS, COLUMNS = SIZE
IMAGE = np.zeros((2 * ROWS, 2 * COLUMNS, 3), np.uint8)  # twice the network's size: exact by every fit
LABELS = ("cat", "dog", "bird")
CELLS = {8: 0, 16: 96, 32: 120, 64: 126}  # first cell of each stride in 64x96 px


def cell(stride, column, row):
    return CELLS[stride] + row * -(-COLUMNS // stride) + column


def logits(value):
    """Of a distribution over 0 to 7 whose mean is this."""
    low = int(value)
    share = np.zeros(8)
    share[low] = 1 - (value - low)
    share[min(low + 1, 7)] += value - low
    return np.log(np.maximum(share, 1e-9))


def yolox(boxes):
    output = np.zeros((1, 126, 5 + len(LABELS)))
    for (stride, column, row), (x0, y0, x1, y1), score, kind in boxes:
        line = output[0, cell(stride, column, row)]
        line[:2] = (x0 + x1) / 2 / stride - column, (y0 + y1) / 2 / stride - row
        line[2:4] = np.log([(x1 - x0) / stride, (y1 - y0) / stride])
        line[4], line[5 + kind] = 0.8, score / 0.8
    return output


def yolov5(boxes):
    output = np.zeros((1, 3 * 126, 5 + len(LABELS)))
    for k, (_, (x0, y0, x1, y1), score, kind) in enumerate(boxes):
        output[0, 7 * k, :5] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.9
        output[0, 7 * k, 5 + kind] = score / 0.9
    return output


def yolov8(boxes):
    output = np.zeros((1, 4 + len(LABELS), 126))
    for k, (_, (x0, y0, x1, y1), score, kind) in enumerate(boxes):
        output[0, :4, 5 * k] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        output[0, 4 + kind, 5 * k] = score
    return output


def end_to_end(boxes):
    output = np.zeros((1, 30, 6))
    for k, (_, box, score, kind) in enumerate(boxes):
        output[0, k] = *box, score, kind
    return output


def nanodet(boxes, origin=0.5, count=126):
    output = np.zeros((1, count, len(LABELS) + 32))
    for (stride, column, row), (x0, y0, x1, y1), score, kind in boxes:
        line = output[0, cell(stride, column, row)]
        x, y = (column + origin) * stride, (row + origin) * stride
        line[kind] = score
        sides = np.array([x - x0, y - y0, x1 - x, y1 - y]) / stride
        line[len(LABELS) :] = np.concatenate([logits(side) for side in sides])
    return output


LAYOUTS = {
    "yolox": yolox,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolov8_rows": lambda boxes: yolov8(boxes).transpose(0, 2, 1),
    "end_to_end": end_to_end,
    "nanodet_plus": lambda boxes: nanodet(boxes, 0.0, 128),
    "nanodet": nanodet,
}
# cell, corners in px of the network's image, score, class
BOXES = [
    ((8, 2, 3), (10.0, 16.0, 26.0, 38.0), 0.7, 1),
    ((16, 4, 1), (58.0, 8.0, 90.5, 40.0), 0.6, 2),
    ((32, 1, 1), (20.0, 10.0, 70.0, 60.0), 0.5, 0),
]


def make(path, layout, boxes, **more):
    notes = {"names": repr(dict(enumerate(LABELS)))}
    return saying(path / "it.onnx", LAYOUTS[layout](boxes), not FAMILIES[layout].raw, notes=notes, **more)


@pytest.mark.parametrize("layout", FAMILIES)
def test_known_boxes_come_out_in_pixels_of_the_image(tmp_path, layout):
    said = []
    detector = make_detector(str(make(tmp_path, layout, BOXES)), threads=1, log=said.append)
    assert detector.reading.family.name == layout, said
    assert any(f"read as {layout}" in line and "3 classes" in line for line in said)
    (found,) = detector.detect([IMAGE])
    assert found.boxes == pytest.approx(np.array([box for _, box, _, _ in BOXES]) * 2 - 0.5, abs=1e-3)
    assert found.scores == pytest.approx([0.7, 0.6, 0.5], abs=1e-6)
    assert [detector.label(kind) for kind in found.kinds] == ["dog", "bird", "cat"]


@pytest.mark.parametrize("layout", FAMILIES)
def test_score_and_classes_are_kept_to_and_nothing_is_no_fault(tmp_path, layout):
    path = str(make(tmp_path, layout, BOXES))
    for wanted, expected in (
        (Filter(score=0.55), ["dog", "bird"]),
        (Filter(classes=("cat", "dog")), ["dog", "cat"]),
        (Filter(most=1), ["dog"]),
        (Filter(score=0.9), []),
    ):
        detector = make_detector(path, threads=1, wanted=wanted)
        (found,) = detector.detect([IMAGE])
        assert [detector.label(kind) for kind in found.kinds] == expected
        assert found.boxes.shape == (len(expected), 4)


@pytest.mark.parametrize("layout", sorted(set(FAMILIES) - {"end_to_end"}))
def test_overlapping_boxes_of_a_class_become_one(tmp_path, layout):
    (place, box, _, _) = BOXES[0]
    near = ((8, 2, 2), (10.0, 16.0, 26.0, 36.0), 0.6, 1)  # IoU 0.91
    other = ((8, 1, 3), box, 0.5, 0)  # the same box, another class
    detector = make_detector(str(make(tmp_path, layout, [(place, box, 0.7, 1), near, other])), threads=1)
    (found,) = detector.detect([IMAGE])
    assert found.scores == pytest.approx([0.7, 0.5], abs=1e-6)


def test_an_end_to_end_network_has_chosen_already(tmp_path):
    twice = [(None, (10.0, 16.0, 26.0, 38.0), score, 1) for score in (0.6, 0.7)]
    (found,) = make_detector(str(make(tmp_path, "end_to_end", twice)), threads=1).detect([IMAGE])
    assert found.scores == pytest.approx([0.7, 0.6])


@pytest.mark.parametrize("layout", FAMILIES)
def test_what_is_not_finite_is_passed_over(tmp_path, layout):
    output = LAYOUTS[layout](BOXES)
    output[output == 0.7] = np.nan  # a score
    output[output == 0.7 / 0.8] = np.nan
    output[output == 0.7 / 0.9] = np.nan
    flat = output.reshape(-1)
    flat[:2] = np.inf  # and of the first cell, which holds nothing
    path = saying(tmp_path / "it.onnx", output, not FAMILIES[layout].raw, notes={"names": repr(list(LABELS))})
    with np.errstate(all="raise"):
        (found,) = make_detector(str(path), threads=1).detect([IMAGE])
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.scores).all()
    assert 0.6 in found.scores.round(4)


def test_boxes_are_cut_to_the_image(tmp_path):
    beyond = [(None, (-20.0, -9.0, 50.0, 900.0), 0.9, 0), (None, (-20.0, -20.0, -3.0, -4.0), 0.8, 0)]
    (found,) = make_detector(str(make(tmp_path, "yolov5", beyond)), threads=1).detect([IMAGE])
    assert found.boxes.tolist() == [[-0.5, -0.5, 99.5, 127.5]]
