"""Folders of pictures in each layout, and the pictures that need no folder."""

import json
import struct
import zlib

import cv2
import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.training.pictures import ImageCache, PictureSet, load_pictures, polygon_mask
from deep_tracking_ros.training.procedural import procedural_pictures, texture

OUTLINE = [20, 30, 59, 30, 59, 69, 20, 69]  # a square of 40 px: pixels 20 to 59 and 30 to 69


def picture(path, size=(100, 120), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), texture(np.random.default_rng(seed), size[1], size[0]))


def check_square(pictures: PictureSet, label: str):
    (_, thing), *_ = pictures.objects
    assert thing.label == label
    np.testing.assert_allclose(thing.box, [19.5, 29.5, 59.5, 69.5], atol=0.6)
    cutout = pictures.cutout(0)
    # the outermost pixel of an outline is taken off
    assert 36 <= cutout.shape[0] <= 40
    assert 36 <= cutout.shape[1] <= 40
    assert (cutout[8:-8, 8:-8, 3] == 255).all()


def test_a_table_of_boxes_and_polygons_beside_the_folder(tmp_path):
    picture(tmp_path / "photos" / "a.jpg")
    edges = [20, 30, 60, 30, 60, 70, 20, 70]  # outer edges, as such tables count
    marks = {"size": [120, 100], "boxes": [[0, 20, 30, 40, 40], [3, 80, 5, 25, 30]], "polygons": [[17, *edges]]}
    (tmp_path / "photos.json").write_text(json.dumps({"a.jpg": marks, "missing.jpg": marks}))
    pictures = load_pictures([tmp_path / "photos"])
    assert len(pictures.pictures) == 1
    assert [o.label for _, o in pictures.objects] == ["17", ""]  # the first box is the polygon's
    check_square(pictures, "17")
    np.testing.assert_array_equal(pictures.objects[1][1].box, [79.5, 4.5, 104.5, 34.5])


def test_coco_instances_inside_the_folder(tmp_path):
    picture(tmp_path / "a.jpg")
    mark = {"image_id": 7, "category_id": 3, "bbox": [20, 30, 40, 40], "iscrowd": 0}
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 120, "height": 100}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [{**mark, "segmentation": [[20, 30, 60, 30, 60, 70, 20, 70]]}, {**mark, "iscrowd": 1}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(data))
    pictures = load_pictures([tmp_path])
    assert len(pictures.objects) == 1
    check_square(pictures, "car")


def test_segments_beside_photographs(tmp_path):
    picture(tmp_path / "a.jpg")
    segments = np.ones((100, 120), np.uint8)
    segments[30:70, 20:60] = 2
    segments[2:6, 2:6] = 3  # too small to be an object
    cv2.imwrite(str(tmp_path / "a.png"), segments)
    pictures = load_pictures([tmp_path])
    assert len(pictures.objects) == 1  # the surroundings touch the border
    check_square(pictures, "segment")


def test_cut_outs_and_plain_pictures_in_sub_folders(tmp_path):
    picture(tmp_path / "wall" / "a.png")
    (tmp_path / "stamps" / "dogs").mkdir(parents=True)
    stamp = np.zeros((50, 60, 4), np.uint8)
    stamp[10:30, 5:45] = 255
    cv2.imwrite(str(tmp_path / "stamps" / "dogs" / "rex.png"), stamp)
    pictures = load_pictures([tmp_path])
    assert len(pictures.pictures) == 1
    assert pictures.cutouts[0].label == "dogs"
    assert pictures.cutout(0).shape == (20, 40, 4)


def test_each_kind_of_transparent_png_is_a_cut_out(tmp_path):
    """Grey with alpha and a palette with a transparent colour, both written byte by byte; tiny ones are left out."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def write(name, side, colour, extra, row):
        head = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
        data = zlib.compress((b"\0" + row * side) * side)
        body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + body)

    write("grey.png", 40, 4, b"", bytes([90, 255]))
    write("palette.png", 40, 3, chunk(b"PLTE", bytes([200, 10, 20])) + chunk(b"tRNS", bytes([255])), bytes([0]))
    write("tiny.png", 8, 4, b"", bytes([90, 255]))
    picture(tmp_path / "photo.png")
    pictures = load_pictures([tmp_path])
    assert len(pictures.pictures) == 1
    np.testing.assert_array_equal(pictures.cutout(0)[20, 20], [90, 90, 90, 255])
    np.testing.assert_array_equal(pictures.cutout(1)[20, 20], [20, 10, 200, 255])
    assert len(pictures.cutouts) == 2


def test_large_pictures_are_scaled_down_with_their_marks(tmp_path):
    picture(tmp_path / "photos" / "a.jpg", (1000, 1280))
    marks = {"size": [1280, 1000], "boxes": [], "polygons": [[1, 200, 300, 600, 300, 600, 700, 200, 700]]}
    (tmp_path / "photos.json").write_text(json.dumps({"a.jpg": marks}))
    pictures = load_pictures([tmp_path / "photos"])
    assert pictures.image(pictures.pictures[0]).shape == (500, 640, 3)
    assert abs(pictures.cutout(0).shape[0] - 200) <= 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "no usable picture"),
        ("photos.json", b'{"a.jpg": 3}', "neither COCO"),
        ("photos.json", b"{", "neither COCO"),
    ],
)
def test_a_folder_that_fits_no_layout_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    if name.endswith("json"):
        picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=message):
        load_pictures([tmp_path])


def test_a_missing_folder_and_a_broken_picture_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_pictures([tmp_path / "nowhere"])
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    pictures = load_pictures([tmp_path])
    with pytest.raises(DataError, match=r"a\.jpg cannot be decoded"):
        pictures.image(pictures.pictures[0])


def test_only_cut_outs_are_not_enough(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((50, 60, 4), 255, np.uint8))
    with pytest.raises(DataError, match="opaque"):
        load_pictures([tmp_path])


def test_the_cache_keeps_what_fits(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png", seed=ord(name))
    cache = ImageCache(limit=100 * 120 * 3)
    first, second = (cache.read(tmp_path / f"{name}.png") for name in "ab")
    assert cache.read(tmp_path / "a.png") is first
    again = cache.read(tmp_path / "b.png")
    assert again is not second
    np.testing.assert_array_equal(again, second)


def test_procedural_outlines_are_true():
    """Inside of its outline a shape has another texture than the picture outside."""
    for thing in procedural_pictures(seed=3, number=4):
        image = thing.source
        assert len(thing.objects) == 3
        for shape in thing.objects:
            mask = polygon_mask(shape.polygon, *thing.size)
            ring = cv2.dilate(mask, np.ones((7, 7))) - mask > 0
            inner = mask - cv2.erode(mask, np.ones((7, 7))) > 0
            across = np.abs(image[inner].mean(0) - image[ring].mean(0)).max()
            assert across > 2
            ys, xs = np.nonzero(mask)
            np.testing.assert_allclose(shape.box, [xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5])


def test_training_pictures_can_be_had_without_a_folder():
    pictures = load_pictures([])
    assert len(pictures.cutouts) > 20
    assert len(pictures.pictures) >= 16


def test_the_reference_photographs_load(reference):
    pictures = load_pictures([reference("training/photos")])
    assert len(pictures.pictures) == 256 + 140
    assert len(pictures.objects) > 1200
    assert len(pictures.cutouts) > 400
    opaque = []
    for number in range(0, len(pictures.cutouts), 10):
        cutout = pictures.cutout(number)
        assert min(cutout.shape[:2]) >= 10
        opaque.append((cutout[..., 3] >= 128).mean())
    # objects, not shreds: a fair share of the box is opaque (less for what is thin and lies across)
    assert min(opaque) > 0.1
    assert np.median(opaque) > 0.5
