import cv2
import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.datasets import find_sequences, mask_to_box, rectangles_to_boxes

HEIGHT, WIDTH = 40, 60
# what all layouts below tell of: pixels 10..19 by 5..24 in frame 0, one to the right in each later one
TRUTH = np.array([[9.5 + t, 4.5, 19.5 + t, 24.5] for t in range(3)], np.float32)
COLUMNS, ROWS = slice(10, 20), slice(5, 25)


def write_images(folder, count=3, digits=8, start=1, suffix=".jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        image = np.full((HEIGHT, WIDTH, 3), 10 * t % 256, np.uint8)
        cv2.imwrite(str(folder / f"{t + start:0{digits}d}{suffix}"), image)


def write_masks(folder, masks):
    folder.mkdir(parents=True, exist_ok=True)
    for t, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{t:05d}.png"), mask)


def moving_masks(value=255):
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    for t in range(3):
        masks[t, ROWS, COLUMNS.start + t : COLUMNS.stop + t] = value
    return masks


@pytest.mark.parametrize("separator", [",", "\t", " ", ", "])
def test_otb_rectangles_are_one_based(tmp_path, separator):
    write_images(tmp_path / "Toy" / "img", digits=4)
    rows = [[11 + t, 6, 10, 20] for t in range(3)]
    (tmp_path / "Toy/groundtruth_rect.txt").write_text("\n".join(separator.join(map(str, row)) for row in rows) + "\n")
    (sequence,) = find_sequences(tmp_path)
    assert sequence.name == "Toy"
    np.testing.assert_array_equal(sequence.boxes, TRUTH)
    assert sequence.image(2).shape == (HEIGHT, WIDTH, 3)
    assert sequence.image(2).mean() == pytest.approx(20, abs=1)


def test_images_are_taken_in_the_order_of_their_numbers(tmp_path):
    write_images(tmp_path / "Cup" / "img", 11, digits=1)
    (tmp_path / "Cup" / "groundtruth_rect.txt").write_text("1,1,4,4\n" * 11)
    (sequence,) = find_sequences(tmp_path)
    assert [int(path.stem) for path in sequence.frames] == list(range(1, 12))


def test_first_pixel_covers_half_a_pixel_to_each_side():
    # the whole image, written by a data set that calls its first pixel 1 and by one that calls it 0
    whole = [-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5]
    np.testing.assert_array_equal(rectangles_to_boxes([[1, 1, WIDTH, HEIGHT]], first_pixel=1), [whole])
    np.testing.assert_array_equal(rectangles_to_boxes([[0, 0, WIDTH, HEIGHT]], first_pixel=0), [whole])
    np.testing.assert_array_equal(mask_to_box(np.ones((HEIGHT, WIDTH), bool)), whole)


def test_otb_absent_attributes_and_several_targets(tmp_path):
    folder = tmp_path / "Jogging"
    write_images(folder / "img", digits=4)
    (folder / "groundtruth_rect.1.txt").write_text("11,6,10,20\nnan,nan,nan,nan\n0,0,0,0\n")
    (folder / "groundtruth_rect.2.txt").write_text("11,6,10,20\n12,6,10,20\n")  # annotated in two frames only
    (folder / "attributes.txt").write_text(
        "attributes: fast motion, occlusion (of a bike), distractors: many\nsize: 1\n"
    )
    first, second = find_sequences(folder)
    assert (first.name, second.name) == ("Jogging.1", "Jogging.2")
    assert first.attributes == ("fast motion", "occlusion", "distractors")
    np.testing.assert_array_equal(np.isfinite(first.boxes).all(1), [True, False, False])
    assert len(second) == 2
    assert [s.name for s in find_sequences(tmp_path, ["Jogging.2"])] == ["Jogging.2"]
    assert [s.name for s in find_sequences(tmp_path, ["Jogging"])] == ["Jogging.1", "Jogging.2"]


def test_otb_david_begins_at_image_300(tmp_path):
    write_images(tmp_path / "David" / "img", count=303, digits=4)
    (tmp_path / "David/groundtruth_rect.txt").write_text("11,6,10,20\n" * 3)
    (sequence,) = find_sequences(tmp_path)
    assert [path.stem for path in sequence.frames] == ["0300", "0301", "0302"]


def test_vot_rectangles_and_polygons_are_zero_based(tmp_path):
    write_images(tmp_path / "rectangle" / "color")
    (tmp_path / "rectangle/groundtruth.txt").write_text("".join(f"{10 + t},5,10,20\n" for t in range(3)))
    (tmp_path / "rectangle/occlusion.tag").write_text("0\n1\n0\n")
    (tmp_path / "rectangle/camera_motion.tag").write_text("0\n0\n0\n")
    write_images(tmp_path / "polygon")
    corners = "".join(f"{15 + t},5,{20 + t},15,{15 + t},25,{10 + t},15\n" for t in range(3))  # a rhomb
    (tmp_path / "polygon/groundtruth.txt").write_text(corners)
    (tmp_path / "list.txt").write_text("rectangle\npolygon\n")
    rectangle, polygon = find_sequences(tmp_path)  # in the order of the list
    assert (rectangle.name, polygon.name) == ("rectangle", "polygon")
    assert rectangle.attributes == ("occlusion",)
    np.testing.assert_array_equal(rectangle.boxes, TRUTH)
    np.testing.assert_array_equal(polygon.boxes, TRUTH)


def test_got10k_labels_size_and_list(tmp_path):
    for name in ("GOT-10k_Val_000002", "GOT-10k_Val_000001", "not_listed"):
        folder = tmp_path / name
        write_images(folder)
        (folder / "groundtruth.txt").write_text("".join(f"{11 + t}.0,6.0,10.0,20.0\n" for t in range(3)))
        (folder / "absence.label").write_text("0\n1\n0\n")
        (folder / "cover.label").write_text("8\n3\n0\n")
        (folder / "meta_info.ini").write_text("[METAINFO]\nurl: x\nresolution: (60, 40)\n")
    (tmp_path / "list.txt").write_text("GOT-10k_Val_000002\nGOT-10k_Val_000001\n")
    sequences = find_sequences(tmp_path)
    assert [s.name for s in sequences] == ["GOT-10k_Val_000002", "GOT-10k_Val_000001"]
    np.testing.assert_array_equal(sequences[0].boxes[0], TRUTH[0])
    assert np.isnan(sequences[0].boxes[1:]).all()  # absent, then covered altogether
    assert sequences[0].size == (60, 40)


def test_got10k_test_set_is_refused(tmp_path):
    write_images(tmp_path / "GOT-10k_Test_000001")
    (tmp_path / "GOT-10k_Test_000001/groundtruth.txt").write_text("11,6,10,20\n")
    with pytest.raises(DataError, match="validation set"):
        find_sequences(tmp_path)


@pytest.mark.parametrize("official", [False, True])
def test_davis_masks(tmp_path, official):
    if official:
        frames, annotations = tmp_path / "JPEGImages/480p/toy", tmp_path / "Annotations/480p/toy"
    else:
        frames, annotations = tmp_path / "toy/JPEGImages", tmp_path / "toy/Annotations"
    write_images(frames, digits=5, start=0)
    masks = moving_masks()
    masks[1] = 0
    write_masks(annotations, masks)
    (sequence,) = find_sequences(tmp_path)
    assert sequence.name == "toy"
    np.testing.assert_array_equal(sequence.boxes[[0, 2]], TRUTH[[0, 2]])
    assert np.isnan(sequence.boxes[1]).all()
    np.testing.assert_array_equal(sequence.mask(2), masks[2] > 0)


@pytest.mark.parametrize("palette", [False, True])
def test_davis_objects_are_targets_in_the_order_of_their_labels(tmp_path, palette):
    write_images(tmp_path / "pair/JPEGImages", digits=5, start=0)
    masks = moving_masks(2)
    masks[:, 30:35, 40:50] = 1
    if palette:  # OpenCV hands out the colours of a palette image
        colours = np.array([(0, 0, 0), (0, 0, 128), (0, 128, 0)], np.uint8)  # BGR of the DAVIS palette
        masks = colours[masks]
    write_masks(tmp_path / "pair/Annotations", masks)
    (tmp_path / "pair/Annotations/00001.png").unlink()  # not every frame needs one
    first, second = find_sequences(tmp_path / "pair")
    assert (first.name, second.name) == ("pair.1", "pair.2")
    np.testing.assert_array_equal(first.boxes[0], [39.5, 29.5, 49.5, 34.5])
    np.testing.assert_array_equal(second.boxes[[0, 2]], TRUTH[[0, 2]])
    assert np.isnan(second.boxes[1]).all()
    assert second.mask(1) is None
    assert second.mask(0).sum() == 200


def test_wrong_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        find_sequences(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"OTB .*VOT .*GOT-10k .*DAVIS"):
        find_sequences(tmp_path)
    write_images(tmp_path / "Toy" / "img")
    truth = tmp_path / "Toy/groundtruth_rect.txt"
    truth.write_text("11,6,10,20\n" * 4)
    with pytest.raises(DataError, match="3 images, but 4 rows"):
        find_sequences(tmp_path)
    truth.write_text("11,6,10\n" * 3)
    with pytest.raises(DataError, match=r"groundtruth_rect.txt:1: 3 numbers, each row must have 4"):
        find_sequences(tmp_path)
    truth.write_text("11,6,10,x\n" * 3)
    with pytest.raises(DataError, match="is not a row of numbers"):
        find_sequences(tmp_path)
    truth.write_text("nan,nan,nan,nan\n" * 3)
    with pytest.raises(DataError, match="no box in any frame"):
        find_sequences(tmp_path)
    truth.write_text("11,6,10,20\n" * 3)
    with pytest.raises(DataError, match=r"no sequence 'Other' .* there are Toy"):
        find_sequences(tmp_path, ["Other"])
    (tmp_path / "list.txt").write_text("Toy\nMissing\n")
    with pytest.raises(DataError, match="'Missing', but there is no such folder"):
        find_sequences(tmp_path)
    (tmp_path / "list.txt").unlink()
    (tmp_path / "Toy/img/00000002.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"00000002\.jpg"):
        find_sequences(tmp_path)[0].image(1)


def test_boxes_of_reference_masks_equal_their_one_based_rectangles(reference):
    folder = reference("data/davis") / "car-shadow"
    (sequence,) = find_sequences(folder)
    rectangles = np.loadtxt(folder / "groundtruth_rect.txt", delimiter=",")
    np.testing.assert_array_equal(sequence.boxes, rectangles_to_boxes(rectangles, first_pixel=1))
