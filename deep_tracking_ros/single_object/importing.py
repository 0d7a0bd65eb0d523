"""Public siamese box trackers become models: two ONNX files in, a model folder for `siamese_box` out.

The weights stay as they are. Around them goes what the package expects: uint8 (B, H, W, 3) BGR crops in, any batch,
backbone and head of the search joined to one network that is one call per frame, one logit per cell out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from deep_tracking_ros.errors import EngineError, ModelError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object import onnx_surgery
from deep_tracking_ros.single_object.public_kinds import KINDS, Kind
from deep_tracking_ros.single_object.registry import TASK

if TYPE_CHECKING:
    import onnx

Shapes = dict[str, tuple[int, ...]]
"""Names of tensors and their shapes, -1 where any size is right."""


def import_public(kind: str, backbone: Path, head: Path, into: Path, name: str, replace: bool = False) -> Model:
    """Make a model of the two ONNX files of a public tracker.

    Its folder, called by its name, appears whole or not at all.

    Args:
        kind: a key of `KINDS`.
        backbone: ONNX file, image to features.
        head: ONNX file, features of template and search crop to maps of scores and distances.
        into: folder of models.
        name: of the model and of its folder.
        replace: put it in the place of a model of the same name.

    Raises:
        ModelError: there is no such kind, a file cannot be read or is not of that kind, the networks do not run, or
            the name is taken or none that a folder can have.
    """
    if kind not in KINDS:
        raise ModelError(f"there is no kind {kind!r} of public tracker; known are: {', '.join(KINDS)}")
    folder = into / name
    if not name or PurePath(name).name != name or name.startswith("."):
        raise ModelError(f"the model's name is {name!r}; it must be one that a folder can have")
    if folder.exists() and not replace:
        raise ModelError(f"there is a model {name!r} in {into} already; say --replace to put this one there")
    spec = KINDS[kind]
    features, heads = _read(backbone), _read(head)
    _check_shapes(backbone, f"backbone of {kind}", features, *_backbone_shapes(spec))
    _check_shapes(head, f"head of {kind}", heads, *_head_shapes(spec))
    card = ModelCard(
        name, TASK, "siamese_box", spec.parameters, spec.tracking, spec.calibration, spec.thresholds,
        spec.description, spec.licence, spec.origin, {}, spec.results,
    )  # fmt: skip
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=".import-") as aside:
            made = Path(aside) / "model"
            made.mkdir()
            (made / "template.onnx").write_bytes(onnx_surgery.template_network(features, spec))
            (made / "search.onnx").write_bytes(onnx_surgery.search_network(features, heads, spec))
            card.save(made / "card.yaml")
            model = Model(made, ModelCard.load(made / "card.yaml"))
            _try(model)
            if folder.exists():
                folder.replace(Path(aside) / "old")
            made.replace(folder)
    except OSError as error:
        raise ModelError(f"cannot write the model to {folder}: {error}") from error
    return Model(folder, model.card)


def _read(path: Path) -> onnx.ModelProto:
    import onnx

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx have no common base
        raise ModelError(f"cannot read the ONNX file {path}: {error}") from error
    return model


def _backbone_shapes(kind: Kind) -> tuple[Shapes, Shapes]:
    return {kind.image: (-1, 3, -1, -1)}, {kind.features: (-1, kind.parameters["feature"][0], -1, -1)}


def _head_shapes(kind: Kind) -> tuple[Shapes, Shapes]:
    p = kind.parameters
    searched, cells = round(p["search_size"] / p["stride"]), p["cells"]
    inputs = {kind.template: (-1, *p["feature"]), kind.search: (-1, p["feature"][0], searched, searched)}
    return inputs, {kind.scores: (-1, kind.classes, cells, cells), kind.distances: (-1, 4, cells, cells)}


def _check_shapes(path: Path, what: str, model: onnx.ModelProto, inputs: Shapes, outputs: Shapes) -> None:
    """Raise `ModelError` unless a file has the inputs and outputs of its kind; where it leaves a size open, all fit."""
    for side, wanted, values in (("inputs", inputs, model.graph.input), ("outputs", outputs, model.graph.output)):
        weights = {tensor.name for tensor in model.graph.initializer}
        found = {
            value.name: tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)
            for value in values
            if value.name not in weights
        }
        fits = found.keys() == wanted.keys() and all(
            len(found[name]) == len(shape)
            and all(-1 in (a, b) or a == b for a, b in zip(found[name], shape, strict=True))
            for name, shape in wanted.items()
        )
        if not fits:
            raise ModelError(f"{path} is no {what}: its {side} are {_text(found)}, they should be {_text(wanted)}")


def _text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join('?' if n == -1 else str(n) for n in s)}" for name, s in shapes.items())


def _try(model: Model) -> None:
    """Write the golden sample of a model; raises `ModelError` where its networks fail on one crop or two at a time."""
    from deep_tracking_ros.inference.engine import Engine, Network
    from deep_tracking_ros.inference.onnx_backend import OnnxEngine
    from deep_tracking_ros.single_object.golden import check_golden, golden_arrays

    class Doubled(Engine):
        """Two of everything in, the second of everything out."""

        backend = "onnxruntime"

        def __init__(self, network: Network) -> None:
            super().__init__(network, "fp32")
            self.engine = OnnxEngine(network, threads=1)

        def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
            outputs = self.engine(**{name: np.repeat(array, 2, 0) for name, array in arrays.items()})
            return {name: array[1:] for name, array in outputs.items()}

    try:
        np.savez_compressed(model.folder / "golden.npz", **golden_arrays(model))  # type: ignore[arg-type]
        difference = check_golden(model, make=Doubled)
    except EngineError as error:
        raise ModelError(f"the networks of {model.card.name!r} do not run: {error}") from error
    if not difference < 1e-3:
        raise ModelError(
            f"the networks of {model.card.name!r} give other results in a batch of two than alone: "
            f"relative difference {difference:.2g}"
        )
