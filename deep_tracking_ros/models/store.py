"""Where models lie: a name (or a path) becomes a folder with weights, card and golden sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.models.card import ModelCard

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class Model:
    """A model folder: ``card.yaml``, ``golden.npz`` and ``model.safetensors`` or ONNX files."""

    folder: Path
    card: ModelCard

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the weights and what the architecture is made from; keys all caches."""
        sha = hashlib.sha256()
        for path in sorted([*self.folder.glob("*.safetensors"), *self.folder.glob("*.onnx")]):
            sha.update(path.name.encode())
            sha.update(path.read_bytes())
        sha.update(repr((self.card.architecture, sorted(self.card.parameters.items()))).encode())
        return sha.hexdigest()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All weights as numpy arrays; floats come as float32. Raises `ModelError` for a missing or damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(self.weights)
        except (OSError, SafetensorError, ValueError) as error:
            raise ModelError(f"cannot read the weights {self.weights}: {error}; install the model again") from error
        return {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()}

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Arrays of ``golden.npz``: one input and its output. Raises `ModelError`."""
        try:
            with np.load(self.folder / "golden.npz", allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # zipfile, zlib and numpy have a dozen kinds for damaged files
            raise ModelError(
                f"cannot read {self.folder / 'golden.npz'}: {error or type(error).__name__}; install the model again"
            ) from error


def list_models(task: str | None = None, folder: Path = WEIGHTS) -> list[Model]:
    """All models that come with the package (or lie in a folder), by name."""
    cards = sorted(folder.glob("*/card.yaml"))
    models = [Model(path.parent, ModelCard.load(path)) for path in cards]
    return [model for model in models if task in (None, model.card.task)]


def find_model(name: str, task: str | None = None) -> Model:
    """The model of this name, or at this path (a folder with a ``card.yaml``).

    Raises `ModelError` listing the known names where there is none, or where it is made for another task.
    """
    path = Path(name).expanduser()
    folder = path if (path / "card.yaml").is_file() else WEIGHTS / name
    if not name or not (folder / "card.yaml").is_file():
        known = ", ".join(model.card.name for model in list_models(task)) or "none"
        raise ModelError(f"there is no model {name!r}; known are: {known}; or give the path of a model's folder")
    model = Model(folder, ModelCard.load(folder / "card.yaml"))
    if task is not None and model.card.task != task:
        raise ModelError(f"model {name!r} is made for {model.card.task}, not for {task}")
    return model
