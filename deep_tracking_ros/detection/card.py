"""What a network file does not say of itself: a small YAML file beside it, ``NAME.yaml`` for ``NAME.onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from deep_tracking_ros.detection.coco import LABELS
from deep_tracking_ros.detection.family import Preparation
from deep_tracking_ros.detection.parts.letterbox import FITS
from deep_tracking_ros.errors import ModelError


@dataclass(frozen=True)
class Card:
    """What is known; None = as the family of the network has it, or as the file says."""

    layout: str | None = None  # name of a family, where the shape of the output fits several or is told wrong
    size: tuple[int, int] | None = None  # rows and columns, px, where the file takes any
    colour: str | None = None  # 'bgr' or 'rgb'
    mean: tuple[float, float, float] | None = None  # of channels of 0 to 255, in the order of `colour`
    std: tuple[float, float, float] | None = None  # the input is (pixel - mean) / std
    fit: str | None = None  # 'corner', 'centre' or 'stretch'
    pad: int | None = None  # grey of the border, 0 to 255
    labels: tuple[str, ...] | None = None  # names of the classes, in order

    def preparation(self, usual: Preparation) -> Preparation:
        """That of the family with what the card says otherwise."""
        own = {field.name: getattr(self, field.name) for field in fields(usual)}
        return replace(usual, **{name: value for name, value in own.items() if value is not None})


def card_of(model: Path, card: str = "") -> Card:
    """The card at a path, or the one beside a model where the path is empty; an empty card where there is none.

    Raises `ModelError` where the card that was asked for is not there, or says what cannot be.
    """
    path = Path(card).expanduser() if card else model.with_suffix(".yaml")
    if not card and not path.is_file():
        return Card()
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"cannot read the card {path}: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"the card {path} is not a mapping such as `colour: bgr`")
    if unknown := sorted(map(str, set(values) - set(READERS))):
        raise ModelError(f"the card {path} has unknown keys {', '.join(unknown)}; known are {', '.join(READERS)}")
    read = {}
    for key, value in values.items():
        try:
            read[key] = READERS[key](value)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{key} of the card {path} is {value!r}; it must be {error}") from error
    return Card(**read)


def _one_of(names: Sequence[str]) -> Any:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return read


def _numbers(count: int, low: float, high: float, words: str, kind: type = float) -> Any:
    def read(value: Any) -> tuple[Any, ...]:
        values = [value] * count if isinstance(value, int | float) else value
        sound = isinstance(values, list) and len(values) == count
        if not sound or not all(isinstance(v, int | float) and low <= v <= high for v in values):
            raise ValueError(words)
        return tuple(kind(v) for v in values)

    return read


def _grey(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError("a whole number from 0 to 255")
    return value


def _labels(value: Any) -> tuple[str, ...]:
    if value == "coco":
        return LABELS
    if not isinstance(value, list) or not value:
        raise ValueError("a list of names in the order of the classes, or coco")
    return tuple(map(str, value))


READERS: dict[str, Any] = {
    "layout": str,
    "size": _numbers(2, 32, 8192, "rows and columns in px, such as [384, 640]", int),
    "colour": _one_of(("bgr", "rgb")),
    "mean": _numbers(3, -1e4, 1e4, "one number or three, of channels of 0 to 255"),
    "std": _numbers(3, 1e-6, 1e6, "one number or three above 0; 255 makes channels of 0 to 1"),
    "fit": _one_of(tuple(FITS)),
    "pad": _grey,
    "labels": _labels,
}
