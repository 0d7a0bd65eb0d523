"""An ONNX file that a user names: what goes in, what comes out, what it says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Network, TensorSpec

BATCH = (1, 1, 16)
"""Images in one call of a network that takes any number: fewest, usual, most."""
ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Exp", "Pow", "MatMul", "TopK", "NonMaxSuppression"))
SHAPING = frozenset(
    ("Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose",
     "Unsqueeze")
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """One network file that was read and looks sound."""

    path: Path
    digest: str
    input: TensorSpec  # the only one, of four axes; -1 = any
    outputs: tuple[TensorSpec, ...]
    notes: Mapping[str, str]  # what the exporter wrote into the file, such as the names of classes
    raw: bool
    """Whether no arithmetic follows the last layers: see `family.Family.raw`."""

    def network(self, name: str, size: tuple[int, int], batch: tuple[int, int, int] = BATCH) -> Network:
        """The network for images of one size, in a batch as the file takes it."""
        count, channels = self.input.shape[:2]
        shape = (count, channels, *size)
        low, usual, most = ((n, channels, *size) for n in (batch if count == -1 else (count,) * 3))
        spec = TensorSpec(self.input.name, shape, self.input.dtype, low, usual, most)
        return Network(name, (spec,), self.outputs, self.digest, onnx=self.path)

    def described(self) -> str:
        """Inputs and outputs in words, for messages."""
        return ", ".join(f"{spec.name} {shape_text(spec.shape)}" for spec in (self.input, *self.outputs))


def shape_text(shape: tuple[int, ...]) -> str:
    """Such as 1x3x416x416; ? where any size is right."""
    return "x".join("?" if n == -1 else str(n) for n in shape)


def read_onnx(path: str | Path) -> OnnxFile:
    """Read a network that takes images.

    Raises `ModelError` where there is no such file, it is no ONNX file, its weights lie in other files, or it does not
    take one batch of images with three channels.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.onnx")) if path.parent.is_dir() else []
        there = f"; in {path.parent} there are: {', '.join(beside)}" if beside else ""
        raise ModelError(f"there is no model file {path}; give the path of an ONNX file{there}")
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"the ONNX file {path} cannot be read: {error}; install onnx") from error
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf has its own
        raise ModelError(f"{path} cannot be read as an ONNX file: {error}") from error
    graph = model.graph
    if not graph.node:
        raise ModelError(f"{path} is no ONNX file, or holds no network; export the model to ONNX")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise ModelError(
            f"the weights of {path} lie in other files; make one file of it: "
            "python -c \"import onnx; onnx.save(onnx.load('in.onnx'), 'out.onnx')\""
        )
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [_spec(value) for value in graph.input if value.name not in weights]
    outputs = tuple(_spec(value) for value in graph.output)
    _check_input(path, inputs)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxFile(path, hashlib.sha256(data).hexdigest(), inputs[0], outputs, notes, _is_raw(graph))


def _check_input(path: Path, inputs: list[TensorSpec]) -> None:
    text = ", ".join(f"{spec.name} {shape_text(spec.shape)} {np.dtype(spec.dtype)}" for spec in inputs)
    if len(inputs) != 1:
        raise ModelError(f"{path} has {len(inputs)} inputs ({text}); a network of one image input is needed")
    spec = inputs[0]
    if len(spec.shape) != 4:
        raise ModelError(f"the input of {path} is {text}; it must have 4 axes: batch x 3 x height x width")
    if spec.shape[1] not in (3, -1):
        where = "; channels are last: export it with channels first" if spec.shape[3] == 3 else ""
        raise ModelError(f"the input of {path} is {text}; it must be batch x 3 x height x width{where}")
    if np.dtype(spec.dtype) not in (np.float32, np.float16, np.uint8):
        raise ModelError(f"the input of {path} is {text}; it must be float32, float16 or uint8")
    if spec.shape[1] == -1:
        inputs[0] = TensorSpec(spec.name, (spec.shape[0], 3, *spec.shape[2:]), spec.dtype)


def _spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in tensor.shape.dim)
    return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _is_raw(graph: Any) -> bool:
    """Whether the way from the first output back to the last layers meets no arithmetic, only reshaping."""
    maker = {name: node for node in graph.node for name in node.output}
    waiting, seen = [graph.output[0].name], set()
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in ARITHMETIC:
            return False
        if node.op_type in SHAPING:
            waiting.extend(node.input)
    return True
