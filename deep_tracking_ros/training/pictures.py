"""Still pictures for training: photographs, the objects marked in them, and cut-outs with transparency.

A folder is recognised by what lies in it:

* **boxes and polygons**: pictures with a JSON file inside of the folder or beside it (``photos/`` + ``photos.json``),
  either COCO "instances" or
  ``{file: {"size": [w, h], "boxes": [[class, x, y, w, h]], "polygons": [[class, x, y, ...]]}}``;
* **segments**: ``NAME.jpg`` with ``NAME.png``, whose grey values number the segments (as made from BSDS500);
* **cut-outs**: PNG pictures with alpha or transparent colours (as in Debian's tuxpaint-stamps-default);
* **plain**: any other pictures; they serve as backgrounds and textures.

Sub-folders are read too, each by itself. Pictures are decoded when they are first used.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.types import FloatArray

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
LONGEST_SIDE = 640  # px; larger pictures are scaled down when they are read
SMALLEST_SEGMENT = 1500  # px; smaller human segments are seldom objects
SMALLEST_CUTOUT = 700  # px of area
SMALLEST_STAMP = 32  # px of side
SOLIDITY = 0.55  # area of a cut-out as share of its convex hull; what is left of half-hidden objects has less


class ImageCache:
    """Reads pictures and keeps them decoded until ``limit`` bytes are full; what comes later is read each time."""

    def __init__(self, limit: int = 2 << 30, longest: int = LONGEST_SIDE) -> None:
        self.limit, self.longest, self.used = limit, longest, 0
        self._kept: dict[tuple[Path, int], NDArray[np.uint8]] = {}

    def read(self, source: Path | NDArray[np.uint8], flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
        """The picture, scaled down to the longest side allowed. Raises `DataError` where it cannot be decoded."""
        if isinstance(source, np.ndarray):
            return source
        key = (source, flags)
        if key in self._kept:
            return self._kept[key]
        image = read_image(source, flags)
        image = shrink(image, self.longest)
        if self.used + image.nbytes <= self.limit:
            self._kept[key] = image
            self.used += image.nbytes
        return image


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """One picture as stored (EXIF orientation is not applied, since annotations count stored pixels)."""
    image = cv2.imread(str(path), flags | (cv2.IMREAD_IGNORE_ORIENTATION if flags != cv2.IMREAD_UNCHANGED else 0))
    if image is None:
        raise DataError(f"the picture {path} cannot be decoded; remove it or mend it")
    if image.dtype != np.uint8:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 16 bit
    return np.asarray(image, np.uint8)


def shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The picture scaled down (never up) so that its longest side is at most ``longest`` px."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, eq=False)
class MarkedObject:
    """An object in a picture, in pixels of the annotated size, pixel centres at integers."""

    box: FloatArray  # (4,) xyxy
    label: str = ""
    polygon: FloatArray | None = None  # (n, 2)


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph and what is marked in it."""

    source: Path | NDArray[np.uint8]
    size: tuple[int, int] = (0, 0)  # width, height to which the marks refer; (0, 0) where nothing is marked
    objects: tuple[MarkedObject, ...] = ()


@dataclass(frozen=True, eq=False)
class CutoutSource:
    """Where a cut-out comes from: a marked object with a polygon, or a picture with an alpha channel."""

    picture: Picture
    object: MarkedObject | None
    label: str


class PictureSet:
    """All still pictures of a training: photographs, marked objects, cut-outs."""

    def __init__(self, pictures: Sequence[Picture], stamps: Sequence[Picture] = ()) -> None:
        """Args: pictures: photographs; stamps: pictures with an alpha channel.

        Raises `DataError` where there is no photograph at all.
        """
        if not pictures:
            raise DataError("there is no picture to train from; give a folder with at least one opaque picture")
        self.pictures = tuple(pictures)
        self.objects = tuple((p, o) for p in pictures for o in p.objects)
        cutouts = [CutoutSource(p, o, o.label) for p, o in self.objects if o.polygon is not None and _whole(p, o)]
        cutouts += [CutoutSource(p, None, Path(p.source).parent.name) for p in stamps if isinstance(p.source, Path)]
        self.cutouts = tuple(cutouts)
        self.by_label: dict[str, list[int]] = {}
        for i, cutout in enumerate(self.cutouts):
            self.by_label.setdefault(cutout.label, []).append(i)
        self.cache = ImageCache()

    def image(self, picture: Picture) -> NDArray[np.uint8]:
        """(H, W, 3) BGR, shared: not to be written to."""
        return self.cache.read(picture.source)

    def scale(self, picture: Picture) -> float:
        """Pixels of `image` per pixel of the marks."""
        return self.image(picture).shape[1] / picture.size[0] if picture.size[0] else 1.0

    def cutout(self, index: int) -> NDArray[np.uint8]:
        """(h, w, 4) BGRA, cut tight to its alpha; the alpha of polygons is softened by a pixel."""
        source = self.cutouts[index]
        if source.object is None or source.object.polygon is None:
            stamp = self.cache.read(source.picture.source, cv2.IMREAD_UNCHANGED)
            return tight(stamp)
        image, scale = self.image(source.picture), self.scale(source.picture)
        polygon = rescale(source.object.polygon, scale)
        x0, y0 = np.maximum(np.floor(polygon.min(0)).astype(int) - 2, 0)
        x1, y1 = np.ceil(polygon.max(0)).astype(int) + 3
        part = image[y0:y1, x0:x1]
        alpha = polygon_mask(polygon - np.array([x0, y0], np.float32), part.shape[1], part.shape[0])
        # the outermost pixel of a hand-drawn outline is often background: take it off, then soften
        soft = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (3, 3), 0)
        return tight(np.dstack([part, np.asarray(soft, np.uint8)]))


def rescale(points: FloatArray, scale: float) -> FloatArray:
    """Points or boxes (pixel centres at integers) of a picture in the picture scaled by ``scale``."""
    return ((points + 0.5) * scale - 0.5).astype(np.float32)


def polygon_mask(polygon: FloatArray, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width) uint8, 255 inside of the polygon (px, pixel centres at integers)."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, shift=4)
    return mask


def tight(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of a BGRA picture in which alpha is at least one half."""
    x, y, w, h = cv2.boundingRect((bgra[..., 3] >= 128).astype(np.uint8))
    return bgra[y : y + h, x : x + w] if w and h else bgra


def load_pictures(folders: Iterable[Path | str]) -> PictureSet:
    """Read folders of pictures, each layout recognised by itself (see the module's words).

    With no folder at all the pictures are those of `procedural.fallback_pictures`.
    Raises `DataError` where a folder is missing or holds no picture.
    """
    folders = list(folders)
    if not folders:
        # imported here since procedural pictures are made of the classes of this module
        from deep_tracking_ros.training.procedural import fallback_pictures

        return fallback_pictures()
    pictures: list[Picture] = []
    stamps: list[Picture] = []
    for name in folders:
        folder = Path(name)
        if not folder.is_dir():
            raise DataError(f"the folder of pictures {folder} does not exist")
        before = len(pictures) + len(stamps)
        for part in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
            files = sorted(p for p in part.iterdir() if p.suffix.lower() in SUFFIXES)
            if files:
                _load_folder(part, files, pictures, stamps)
        if len(pictures) + len(stamps) == before:
            raise DataError(
                f"no usable picture in {folder}; it should hold pictures ({' '.join(sorted(SUFFIXES))}), "
                f"if need be with a COCO-like JSON file or PNG files of segment numbers, or PNG cut-outs with alpha"
            )
    return PictureSet(pictures, stamps)


def _load_folder(folder: Path, files: list[Path], pictures: list[Picture], stamps: list[Picture]) -> None:
    marks = [*sorted(folder.glob("*.json")), *folder.parent.glob(folder.name + ".json")]
    labels = {p.stem: p for p in files if p.suffix.lower() == ".png"}
    photos = [p for p in files if p.suffix.lower() != ".png"]
    if marks:
        pictures += [picture for path in marks for picture in _read_marks(path, folder)]
    elif photos and all(p.stem in labels for p in photos):
        pictures += [_read_segments(p, labels[p.stem]) for p in photos]
    else:
        for path in files:
            if path.suffix.lower() == ".png" and (size := _transparent(path)):
                if min(size) >= SMALLEST_STAMP:
                    stamps.append(Picture(path))
            else:
                pictures.append(Picture(path))


def _transparent(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG file that has an alpha channel or transparent colours, else None.

    Its header tells (PNG specification, section 11.2): width and height from byte 16 on, then bit depth and colour
    type, of which 4 and 6 have alpha; a chunk tRNS, which comes before the data, makes colours transparent.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if len(head) < 26 or not (head[25] in (4, 6) or b"tRNS" in head.partition(b"IDAT")[0]):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _read_marks(path: Path, folder: Path) -> list[Picture]:
    try:
        data = json.loads(path.read_text())
        pictures = _coco_instances(data, folder) if "annotations" in data else _simple_marks(data, folder)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{path} is neither COCO instances nor a table of boxes and polygons: {error!r}") from error
    return [p for p in pictures if isinstance(p.source, Path) and p.source.is_file()]


def _coco_instances(data: dict[str, Any], folder: Path) -> list[Picture]:
    names = {c["id"]: str(c["name"]) for c in data.get("categories", [])}
    objects: dict[int, list[MarkedObject]] = {}
    for mark in data["annotations"]:
        if mark.get("iscrowd"):
            continue
        parts = mark.get("segmentation") or []
        # only what is in one piece is drawn as a polygon
        polygon = np.array(parts[0], np.float32).reshape(-1, 2) - 0.5 if len(parts) == 1 else None
        label = names.get(mark["category_id"], str(mark["category_id"]))
        objects.setdefault(mark["image_id"], []).append(MarkedObject(_box(mark["bbox"]), label, polygon))
    return [
        Picture(folder / i["file_name"], (int(i["width"]), int(i["height"])), _usable(objects.get(i["id"], [])))
        for i in data["images"]
    ]


def _simple_marks(data: dict[str, Any], folder: Path) -> list[Picture]:
    pictures = []
    for name, marks in data.items():
        polygons = [(str(int(p[0])), np.array(p[1:], np.float32).reshape(-1, 2) - 0.5) for p in marks["polygons"]]
        objects = [MarkedObject(np.array([*p.min(0), *p.max(0)], np.float32), label, p) for label, p in polygons]
        # classes of boxes and of polygons are numbered differently: a box without a polygon goes without a label
        known = np.array([o.box for o in objects], np.float32).reshape(-1, 4)
        for mark in marks["boxes"]:
            box = _box(mark[1:5])
            if not (np.abs(known - box).max(1, initial=0) < 0.05 * (box[2:] - box[:2]).max() + 1).any():
                objects.append(MarkedObject(box))
        pictures.append(Picture(folder / name, (int(marks["size"][0]), int(marks["size"][1])), _usable(objects)))
    return pictures


def _read_segments(photo: Path, labels: Path) -> Picture:
    segments = read_image(labels, cv2.IMREAD_GRAYSCALE)
    height, width = segments.shape
    objects = []
    for number in np.unique(segments):
        contours, _ = cv2.findContours((segments == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(contours, key=cv2.contourArea)[:, 0].astype(np.float32)
        box = np.array([*(outline.min(0) - 0.5), *(outline.max(0) + 0.5)], np.float32)
        if cv2.contourArea(outline) >= SMALLEST_SEGMENT and _inside(box, width, height):
            objects.append(MarkedObject(box, "segment", outline))
    return Picture(photo, (width, height), tuple(objects))


def _box(xywh: Sequence[float]) -> FloatArray:
    """Left-top corner and size, counted from the outer edge of the first pixel, as xyxy with centres at integers."""
    x, y, w, h = (float(v) for v in xywh[:4])
    return np.array([x, y, x + w, y + h], np.float32) - np.float32(0.5)


def _usable(objects: list[MarkedObject], smallest: float = 16.0) -> tuple[MarkedObject, ...]:
    return tuple(o for o in objects if (o.box[2:] - o.box[:2]).min() >= smallest)


def _inside(box: FloatArray, width: int, height: int, margin: float = 1.5) -> bool:
    return bool(box[0] > margin and box[1] > margin and box[2] < width - 1 - margin and box[3] < height - 1 - margin)


def _whole(picture: Picture, thing: MarkedObject) -> bool:
    """Whether an object can serve as a cut-out: large, not cut off by the picture's edge, no shreds."""
    assert thing.polygon is not None
    area = cv2.contourArea(thing.polygon)
    solid = area >= SOLIDITY * cv2.contourArea(cv2.convexHull(thing.polygon))
    return _inside(thing.box, *picture.size) and area >= SMALLEST_CUTOUT and solid
