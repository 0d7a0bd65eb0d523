"""Single-object sequences with known truth, in the layouts of OTB, VOT, GOT-10k and DAVIS.

The layout is recognised from the folder. All boxes leave this module in the convention of `types`: pixel centres at
integers, so that the pixel ``p`` covers ``p - 0.5`` to ``p + 0.5``. A rectangle ``x, y, w, h`` of a data set starts at
the left edge of its first pixel. Where the first pixel of an image is called 1 (OTB, LaSOT, GOT-10k) it covers
``x - 1.5`` to ``x - 1.5 + w``; where it is called 0 (VOT: the toolkit rasterises pixels ``x`` to ``x + w - 1``)
``x - 0.5`` to ``x - 0.5 + w``. The box of a mask runs from the left edge of its first to the right edge of its last
pixel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.files import natural_order
from deep_tracking_ros.types import FloatArray

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")

OTB_FIRST_FRAMES = {"David": 300}
"""OTB sequences whose truth does not begin at their first image, with the number of the image at which it does."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One target in one video, with its true box in every frame."""

    name: str
    frames: tuple[Path, ...]  # image files, read only when asked for
    boxes: FloatArray  # (T, 4) xyxy px; rows of nan where the target is not in view or not annotated
    masks: tuple[Path | None, ...] | None = None  # label images, None where a frame has none
    label: int = 0  # the target's label in `masks`
    attributes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None  # width, height; where the data set states it

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR. Raises `DataError` where the file cannot be decoded."""
        import cv2

        image = cv2.imread(str(self.frames[index]), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"cannot read the image {self.frames[index]} of sequence {self.name!r}")
        return np.asarray(image, np.uint8)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(H, W) the pixels of the target, or None where the frame has no annotation."""
        path = self.masks[index] if self.masks else None
        return None if path is None else read_labels(path) == self.label


def find_sequences(root: Path, names: SequenceOf[str] | None = None) -> list[Sequence]:
    """All sequences of a folder, which is one sequence itself or holds many.

    Args:
        root: a sequence, or a folder of sequences (in the order of its ``list.txt``, where it has one).
        names: keep only these, in this order; a folder's name, or the name of one target of a folder with several.

    Raises:
        DataError: no sequence of a known layout, a name that is not there, or truth that does not fit the images.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give a sequence or a folder of sequences")
    folders = list(_folders(root))
    if not folders:
        raise DataError(
            f"no sequence in {root}: neither it nor a folder in it is OTB (img/ and groundtruth_rect.txt), "
            "VOT (color/ or images, and groundtruth.txt), GOT-10k (images, groundtruth.txt, absence.label) "
            "or DAVIS (JPEGImages/ and Annotations/)"
        )
    if names is None:
        return [sequence for _, read in folders for sequence in read()]
    found = []
    for name in names:
        # only the folders asked for are read; "Jogging.2" is the second target of "Jogging"
        candidates = [s for folder, read in folders if folder in (name, name.rpartition(".")[0]) for s in read()]
        matching = [s for s in candidates if name in (s.name, s.name.rpartition(".")[0])]
        if not matching:
            raise DataError(f"no sequence {name!r} in {root}; there are {', '.join(folder for folder, _ in folders)}")
        found += matching
    return found


Reader = Callable[[], list[Sequence]]


def _folders(root: Path) -> Iterator[tuple[str, Reader]]:
    """Name and reader of every sequence folder at or in a folder."""
    if reader := _reader(root):
        yield root.name, reader
        return
    if davis := _davis_root(root):
        frames, annotations = davis
        for folder in sorted(frames.iterdir()):
            if (annotations / folder.name).is_dir() and _images(folder):
                yield folder.name, _bind(_read_davis, folder.name, folder, annotations / folder.name)
        return
    listed = root / "list.txt"
    children = (
        [root / line.strip() for line in listed.read_text().splitlines() if line.strip()]
        if listed.is_file()
        else sorted(path for path in root.iterdir() if path.is_dir())
    )
    for child in children:
        if not child.is_dir():
            raise DataError(f"{listed} names the sequence {child.name!r}, but there is no such folder")
        if reader := _reader(child):
            yield child.name, reader
        elif listed.is_file():
            raise DataError(f"the sequence {child} named in {listed} has no images or no groundtruth.txt")


def _reader(folder: Path) -> Reader | None:
    """How to read a folder, if it is a sequence."""
    name = folder.resolve().name
    frames, annotations = folder / "JPEGImages", folder / "Annotations"
    if _images(frames) and _images(annotations):
        return _bind(_read_davis, name, frames, annotations)
    if (folder / "img").is_dir() and (truths := _otb_truths(folder)):
        return _bind(_read_otb, name, folder, truths)
    if not (folder / "groundtruth.txt").is_file():
        return None
    if any((folder / part).is_file() for part in ("absence.label", "cover.label", "meta_info.ini")):
        return _bind(_read_got10k, name, folder)
    if name.startswith("GOT-10k"):
        return _bind(_read_got10k, name, folder)
    return _bind(_read_vot, name, folder)


def _bind(read: Callable[..., list[Sequence]], *arguments: object) -> Reader:
    return lambda: read(*arguments)


# OTB and LaSOT: img/, and rectangles with the first pixel called 1


def _otb_truths(folder: Path) -> list[Path]:
    """Files with truth, one a target (OTB has an empty one, which is no target)."""
    files = sorted(folder.glob("groundtruth_rect*.txt")) or [folder / "groundtruth.txt"]
    return [file for file in files if file.is_file() and file.read_text().strip()]


def _read_otb(name: str, folder: Path, truths: list[Path]) -> list[Sequence]:
    images = _images(folder / "img")
    sequences = []
    for number, truth in enumerate(truths, 1):
        boxes = rectangles_to_boxes(_numbers(truth, (4,)), first_pixel=1)
        # some sequences of OTB are annotated in a part of their images only
        first = OTB_FIRST_FRAMES.get(name, 1) - 1 if len(images) != len(boxes) else 0
        frames = images[first : first + len(boxes)]
        target = name if len(truths) == 1 else f"{name}.{number}"
        sequences.append(_sequence(target, frames, boxes, truth, attributes=_attributes(folder)))
    return sequences


# VOT: images in color/ or beside the truth, rectangles or polygons with the first pixel called 0


def _read_vot(name: str, folder: Path) -> list[Sequence]:
    truth = folder / "groundtruth.txt"
    if truth.read_text().lstrip().startswith("m"):
        raise DataError(f"{truth} holds encoded masks (VOT from 2020 on); only rectangles and polygons are read here")
    numbers = _numbers(truth, (4, 8))
    if numbers.shape[1] == 8:
        x, y = numbers[:, 0::2], numbers[:, 1::2]  # the box around the four corners
        low = np.stack([x.min(1), y.min(1)], 1)
        numbers = np.concatenate([low, np.stack([x.max(1), y.max(1)], 1) - low], 1)
    images = next((found for sub in ("color", "img", ".") if (found := _images(folder / sub))), [])
    tags = tuple(sorted(tag.stem for tag in folder.glob("*.tag") if "1" in tag.read_text().split()))
    boxes = rectangles_to_boxes(numbers, first_pixel=0)
    return [_sequence(name, images, boxes, truth, attributes=tags or _attributes(folder))]


# GOT-10k: images beside the truth, rectangles with the first pixel called 1 (as its authors state)


def _read_got10k(name: str, folder: Path) -> list[Sequence]:
    truth, images = folder / "groundtruth.txt", _images(folder)
    boxes = rectangles_to_boxes(_numbers(truth, (4,)), first_pixel=1)
    if len(boxes) == 1 < len(images):
        raise DataError(f"{truth} gives the first box only (the test set of GOT-10k); take its validation set")
    for file in ("absence.label", "cover.label"):
        if (folder / file).is_file():
            labels = _numbers(folder / file, (1,))[:, 0]
            if len(labels) != len(boxes):
                raise DataError(f"{folder / file} has {len(labels)} lines, {truth} has {len(boxes)}")
            boxes[labels > 0 if file == "absence.label" else labels == 0] = np.nan
    meta = folder / "meta_info.ini"
    resolution = re.search(r"resolution\s*[:=]\s*\(?(\d+)\D+(\d+)", meta.read_text()) if meta.is_file() else None
    size = (int(resolution[1]), int(resolution[2])) if resolution else None
    return [_sequence(name, images, boxes, truth, size=size)]


# DAVIS: JPEGImages/ and label images in Annotations/, in a sequence's folder or the other way round


def _davis_root(root: Path) -> tuple[Path, Path] | None:
    """Folders of frames and annotations by sequence: of the official layout (480p if there) or that of YouTube-VOS."""
    frames, annotations = root / "JPEGImages", root / "Annotations"
    if not (frames.is_dir() and annotations.is_dir()):
        return None
    levels = ["480p", *sorted(path.name for path in frames.iterdir() if path.is_dir()), "."]
    for level in levels:
        here = frames / level
        if (annotations / level).is_dir() and here.is_dir() and any(_images(p) for p in here.iterdir() if p.is_dir()):
            return here, annotations / level
    return None


def _read_davis(name: str, frames: Path, annotations: Path) -> list[Sequence]:
    images = _images(frames)
    by_stem = {path.stem: path for path in _images(annotations)}
    masks = tuple(by_stem.get(path.stem) for path in images)
    if not any(masks):
        raise DataError(f"no file of {annotations} has the name of an image of {frames}")
    boxes: dict[int, FloatArray] = {}
    for index, path in enumerate(masks):
        if path is None:
            continue
        labels = read_labels(path)
        for label in np.unique(labels[labels > 0]).tolist():
            box = mask_to_box(labels == label)
            boxes.setdefault(label, np.full((len(images), 4), np.nan, np.float32))[index] = box
    if not boxes:
        raise DataError(f"all annotations in {annotations} are empty")
    return [
        Sequence(name if len(boxes) == 1 else f"{name}.{number}", tuple(images), boxes[label], masks, label)
        for number, label in enumerate(sorted(boxes), 1)
    ]


def read_labels(path: Path) -> NDArray[np.int32]:
    """(H, W) label image, 0 = background. Colours of a palette become numbers in the order of the DAVIS palette."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"cannot read the label image {path}")
    if image.ndim == 2:
        return image.astype(np.int32)
    blue, green, red = (image[..., channel].astype(np.int32) for channel in range(3))
    labels: NDArray[np.int32] = red + (green << 8) + (blue << 16)
    return labels


# Shared by the layouts


def rectangles_to_boxes(rectangles: ArrayLike, first_pixel: int) -> FloatArray:
    """Rectangles of a data set as boxes of this package.

    Args:
        rectangles: (T, 4) left, top, width, height in px, of data in which the first pixel is called ``first_pixel``.

    Returns:
        (T, 4) xyxy px; nan where the rectangle is nan or has no area.
    """
    numbers = np.asarray(rectangles, np.float64)
    corner = numbers[:, :2] - first_pixel - 0.5
    boxes = np.concatenate([corner, corner + numbers[:, 2:]], 1).astype(np.float32)
    boxes[~(np.isfinite(numbers).all(1) & (numbers[:, 2:] > 0).all(1))] = np.nan
    return boxes


def mask_to_box(mask: NDArray[np.bool_]) -> FloatArray:
    """(4,) xyxy px around the true pixels of an (H, W) mask; nan for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return np.full(4, np.nan, np.float32)
    return np.array([columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5], np.float32)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith("."))
    return natural_order(images)


def _numbers(path: Path, widths: tuple[int, ...]) -> NDArray[np.float64]:
    """(T, width) numbers of a text file with commas, semicolons, tabs or spaces between them; ``nan`` is a number."""
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append([float(word) for word in re.split(r"[\s,;]+", line.strip().strip(",;"))])
        except ValueError as error:
            raise DataError(f"{path}:{number}: {line.strip()!r} is not a row of numbers ({error})") from error
        if len(rows[-1]) not in widths or len(rows[-1]) != len(rows[0]):
            wanted = " or ".join(map(str, widths))
            raise DataError(f"{path}:{number}: {len(rows[-1])} numbers, each row must have {wanted}")
    if not rows:
        raise DataError(f"{path} is empty")
    return np.array(rows)


def _sequence(
    name: str,
    frames: list[Path],
    boxes: FloatArray,
    truth: Path,
    attributes: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> Sequence:
    if len(frames) != len(boxes):
        raise DataError(f"sequence {name!r} has {len(frames)} images, but {len(boxes)} rows in {truth}")
    if not np.isfinite(boxes).all(1).any():
        raise DataError(f"{truth} has no box in any frame")
    return Sequence(name, tuple(frames), boxes, attributes=attributes, size=size)


def _attributes(folder: Path) -> tuple[str, ...]:
    """Attributes in the first line of ``attributes.txt``: ``attributes: occlusion, fast motion (remark); ...``."""
    path = folder / "attributes.txt"
    first = path.read_text().splitlines()[:1] if path.is_file() else []
    if not first or not first[0].startswith("attributes:"):
        return ()
    text = re.sub(r"\([^)]*\)", "", first[0].removeprefix("attributes:"))
    parts = (part.split(":")[0].strip() for part in re.split(r"[,;]", text))
    return tuple(part for part in parts if part)
