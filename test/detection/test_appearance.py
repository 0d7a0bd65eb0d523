"""Embeddings of crops: from a network that gives the mean colour, and from a real one on real people."""

import numpy as np
import pytest
from onnx import helper
from small_graphs import save

from deep_tracking_ros.detection.appearance import make_appearance, unit_length
from deep_tracking_ros.errors import ModelError

PLAIN = "{mean: 0, std: 1}"


def mean_colour(path, batch="batch", size=(16, 8), axes=(2, 3)):
    nodes = [helper.make_node("ReduceMean", ["images"], ["looks"], axes=list(axes), keepdims=0)]
    return save(path, nodes, {"looks": [batch, 3]}, {}, batch, size)


def coloured(*squares):
    """A grey image with squares of 20 px at (x, y) of a colour."""
    image = np.full((100, 200, 3), 50, np.uint8)
    for x, y, colour in squares:
        image[y : y + 20, x : x + 20] = colour
    return image


def box(x, y, side=20):
    return [x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5]


@pytest.mark.parametrize(("batch", "runs"), [("batch", 1), (1, 4), (3, 2)])
def test_all_boxes_of_all_images_in_as_few_calls_as_the_file_allows(tmp_path, batch, runs):
    path = mean_colour(tmp_path / "it.onnx", batch)
    (tmp_path / "it.yaml").write_text(PLAIN)
    appearance = make_appearance(str(path), threads=1)
    calls = []
    run = appearance.engine.run
    appearance.engine.run = lambda arrays: calls.append(len(arrays["images"])) or run(arrays)
    first, second = (coloured((10, 10, (90, 0, 0)), (150, 70, (0, 0, 90))), coloured((100, 40, (0, 200, 0))))
    boxes = [np.float32([box(10, 10), box(150, 70)]), np.float32([box(100, 40), box(195, 95)])]
    looks = appearance.embed([first, second], boxes)
    assert len(calls) == runs
    assert looks[0] == pytest.approx(np.float32([[0, 0, 1], [1, 0, 0]]), abs=1e-4)  # red, green, blue: RGB goes in
    assert looks[1][0] == pytest.approx([0, 1, 0], abs=1e-4)
    assert looks[1][1] == pytest.approx([3**-0.5] * 3)  # what of the box is on the image: 5 px of grey
    assert appearance.embed([first], [np.zeros((0, 4), np.float32)])[0].shape == (0, 3)


def test_boxes_beside_the_image_have_none(tmp_path):
    appearance = make_appearance(str(mean_colour(tmp_path / "it.onnx")), threads=1)
    outside = np.float32([box(300, 10), box(197, 10), box(50, 50, 2), [np.nan, 0, 20, 20]])
    (looks,) = appearance.embed([coloured()], [outside])
    assert not looks.any()


def test_rows_of_no_length_or_not_finite_become_zeros():
    rows = np.float32([[3, 4], [0, 0], [np.inf, 1], [np.nan, 1]])
    assert unit_length(rows).tolist() == pytest.approx(np.float32([[0.6, 0.8], [0, 0], [0, 0], [0, 0]]))


def test_networks_that_are_not_for_appearance(tmp_path):
    maps = save(
        tmp_path / "maps.onnx", [helper.make_node("Relu", ["images"], ["maps"])], {"maps": ["batch", 3, 16, 8]}, {},
        size=(16, 8),
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"gives maps 1x3x16x8 for one crop; one vector per crop"):
        make_appearance(str(maps), threads=1)
    any_size = mean_colour(tmp_path / "any.onnx", size=("h", "w"))
    with pytest.raises(ModelError, match=r"takes crops of any size \(images \?x3x\?x\?"):
        make_appearance(str(any_size), threads=1)
    same = [helper.make_node("Identity", ["images"], ["same"])]
    flat = save(tmp_path / "flat.onnx", same, {"same": [1, 9]}, {}, shape=[1, 9])
    with pytest.raises(ModelError, match="it must have 4 axes"):
        make_appearance(str(flat))


def test_people_are_known_again_on_real_images(reference):
    """OSNet x0.25 from the first to the last frame of each sequence: all of 23 people, as measured."""
    import cv2

    appearance = make_appearance(str(reference("weights") / "osnet_x0_25_msmt17.onnx"), threads=1)
    known, people = 0, 0
    for folder in sorted(reference("data/mot/MOT17-mini").iterdir()):
        rows = np.loadtxt(folder / "gt/gt.txt", delimiter=",")
        files = sorted((folder / "img1").glob("*.jpg"))
        ends = []
        for number in (1, len(files)):
            seen = rows[(rows[:, 0] == number) & (rows[:, 7] == 1) & (rows[:, 8] >= 0.5)]
            boxes = np.concatenate([seen[:, 2:4], seen[:, 2:4] + seen[:, 4:6]], 1).astype(np.float32) - 1.5
            (looks,) = appearance.embed([cv2.imread(str(files[number - 1]))], [boxes])
            assert np.linalg.norm(looks, axis=1) == pytest.approx(1, abs=1e-5)
            ends.append((seen[:, 1], looks))
        (before, first), (after, last) = ends
        nearest = after[(first @ last.T).argmax(1)]
        stayed = np.isin(before, after)
        known += int((nearest == before)[stayed].sum())
        people += int(stayed.sum())
    assert people > 20
    assert known / people > 0.9
