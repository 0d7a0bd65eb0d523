"""The families of detection networks, and which of them a file is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deep_tracking_ros.detection.card import Card, card_of
from deep_tracking_ros.detection.coco import LABELS
from deep_tracking_ros.detection.detector import Detector, Filter, Reading
from deep_tracking_ros.detection.end_to_end import EndToEnd
from deep_tracking_ros.detection.family import Family, Shape, Size
from deep_tracking_ros.detection.nanodet import NanoDet, NanoDetPlus
from deep_tracking_ros.detection.parts.onnx_file import OnnxFile, read_onnx, shape_text
from deep_tracking_ros.detection.yolo import YoloV5, YoloV8, YoloV8Rows
from deep_tracking_ros.detection.yolox import YoloX
from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.inference.factory import make_engine

FAMILIES: dict[str, Family] = {
    family.name: family for family in (YoloX(), YoloV5(), YoloV8(), YoloV8Rows(), EndToEnd(), NanoDetPlus(), NanoDet())
}
"""Name, as a card's ``layout`` has it, to family. A new family adds its class here."""

USUAL_SIZE = (640, 640)
"""Of networks that take any size, where neither file nor card says one."""


def make_detector(
    model: str,
    card: str = "",
    backend: str = "auto",
    precision: str = "fp32",
    threads: int = 0,
    wanted: Filter | None = None,
    log: Callable[[str], None] | None = None,
) -> Detector:
    """A detector from an ONNX file, ready to run.

    Args:
        model: path of the ONNX file.
        card: path of its card; empty = the YAML file of the same name beside it, if there is one.
        backend: 'auto', 'tensorrt' or 'onnxruntime'.
        precision: 'fp32', 'fp16' or 'bf16'.
        threads: on a CPU, 0 = all cores.
        wanted: which detections are given.
        log: told in sentences what the file is and what runs it.

    Raises:
        ModelError: there is no such file, it is no ONNX file of a network of one image, its card cannot be, or the
            layout of its output is not known.
        EngineError: no backend can run it.
    """
    file = read_onnx(model)
    told = card_of(file.path, card)
    size = _size(file, told)
    network = file.network(f"detector/{file.path.stem}", size)
    made: list[Engine] = []

    def make(network: Network) -> Engine:
        made.append(make_engine(network, backend, precision, threads=threads, log=log))
        return made[-1]

    try:
        return Detector(network, make, lambda shapes: read_as(file, told, size, shapes, log), size, wanted or Filter())
    except Exception:
        for engine in made:
            engine.close()
        raise


def read_as(
    file: OnnxFile,
    card: Card,
    size: Size,
    shapes: Sequence[tuple[str, Shape]],
    log: Callable[[str], None] | None = None,
) -> Reading:
    """How the outputs of a file, of these names and shapes (batch first), are to be read.

    Raises `ModelError` naming what was found, and what in the card settles it, where that is unknown or open.
    """
    labels = card.labels or _noted_labels(file)
    fitting = _fitting(file, card, size, shapes, labels)
    if len(fitting) != 1:
        raise ModelError(_undecided(file, size, shapes, labels, fitting))
    output, family, count = fitting[0]
    if labels is None and count in (0, len(LABELS)):
        labels = LABELS if count else ()
    if labels is None:
        labels = tuple(f"class {k}" for k in range(count))
    if count and len(labels) != count:
        raise ModelError(
            f"{file.path} has {count} classes when read as {family.name}, but {len(labels)} labels are known; set "
            f"`labels` in {file.path.with_suffix('.yaml').name} to a list of {count} names, or `layout` to another"
        )
    preparation = card.preparation(family.preparation)
    if log is not None:
        named = f"{len(labels)} classes" if labels else "classes without names, give `labels` in its card"
        log(
            f"{file.path.name} is read as {family.name} ({shape_text(dict(shapes)[output])}), {named}, images of "
            f"{size[1]}x{size[0]} px, {preparation.colour}, fit {preparation.fit}"
        )
    return Reading(output, family, preparation, labels)


Fitting = tuple[str, Family, int]
"""Name of an output, a family that it fits and the number of classes that it then has (0 = any)."""


def _fitting(
    file: OnnxFile, card: Card, size: Size, shapes: Sequence[tuple[str, Shape]], labels: tuple[str, ...] | None
) -> list[Fitting]:
    """All readings that are left after what the graph, the card and the number of labels rule out."""
    if card.layout is not None and card.layout not in FAMILIES:
        raise ModelError(f"layout in the card of {file.path} is {card.layout!r}; known are {', '.join(FAMILIES)}")
    chosen = [FAMILIES[card.layout]] if card.layout else [f for f in FAMILIES.values() if f.raw == file.raw]
    fitting = [
        (name, family, count)
        for name, shape in shapes
        for family in chosen
        if (count := family.classes(shape, size)) is not None
    ]
    exact = [reading for reading in fitting if reading[2] == len(labels or LABELS)]  # COCO's number is no chance
    return exact if len(fitting) > 1 and exact else fitting


def _undecided(
    file: OnnxFile,
    size: Size,
    shapes: Sequence[tuple[str, Shape]],
    labels: tuple[str, ...] | None,
    fitting: list[Fitting],
) -> str:
    card = file.path.with_suffix(".yaml").name
    found = ", ".join(f"{name} {shape_text(shape)}" for name, shape in shapes)
    what = f"{file.path} gives {found} for an image of {size[1]}x{size[0]} px"
    if fitting:
        options = ", ".join(f"{name} as {family.name} of {count} classes" for name, family, count in fitting)
        return f"{what}, which can be read in several ways: {options}; set `layout` (or `labels`) in {card} beside it"
    task = f" Its task is {file.notes['task']!r}." if "task" in file.notes else ""
    known = "; ".join(f"{family.name}: {family.layout}" for family in FAMILIES.values())
    side = "is that of the last layers" if file.raw else "is computed from the last layers"
    advice = f"set `layout` in {card} beside it where its output is one of these all the same"
    named = "" if labels is None else f" {len(labels)} labels are known."
    return f"{what}, which is no layout that is known; the output {side}.{task}{named} Known are: {known}. {advice}"


def _size(file: OnnxFile, card: Card) -> Size:
    """Rows and columns of the image that goes in: as the file has them, else as the card, the notes or usage say."""
    fixed = file.input.shape[2:]
    noted = _noted_size(file) or USUAL_SIZE
    rows, columns = (f if f != -1 else c for f, c in zip(fixed, card.size or noted, strict=True))
    if card.size is not None and card.size != (rows, columns):
        raise ModelError(
            f"size in the card of {file.path} is {list(card.size)}, but the file takes {shape_text(fixed)} only"
        )
    return rows, columns


def _noted_size(file: OnnxFile) -> Size | None:
    values = _noted(file, "imgsz")
    if isinstance(values, list | tuple) and len(values) == 2 and all(isinstance(v, int) and v > 0 for v in values):
        return values[0], values[1]
    return None


def _noted_labels(file: OnnxFile) -> tuple[str, ...] | None:
    """Names of the classes that an exporter wrote into the file: a dict from number to name, or a list."""
    names = _noted(file, "names")
    if isinstance(names, dict) and names and set(names) == set(range(len(names))):
        names = [names[k] for k in range(len(names))]
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def _noted(file: OnnxFile, key: str) -> object:
    import ast

    try:
        return ast.literal_eval(file.notes.get(key, "None"))
    except (ValueError, SyntaxError):
        return None
