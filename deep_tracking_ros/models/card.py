"""``card.yaml``: what a model is, how it is to be used, where it comes from and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from deep_tracking_ros.errors import InvalidRequestError, ModelError
from deep_tracking_ros.parameters import make_parameters

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class ModelCard:
    """Contents of ``card.yaml``."""

    name: str
    task: str  # 'single_object', 'optical_flow', ...
    architecture: str  # key in the registry of the task's room
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the architecture, given to its constructor
    tracking: Mapping[str, Any] = field(default_factory=dict)  # run-time settings the model was measured with
    calibration: Mapping[str, Any] = field(default_factory=dict)  # 'raw' and 'probability' knots of the score curve
    thresholds: Mapping[str, float] = field(default_factory=dict)  # 'tracked', 'lost' on the calibrated score
    description: str = ""
    licence: str = ""
    origin: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)  # data, command, seed, time
    results: Mapping[str, Any] = field(default_factory=dict)  # measured, with command and data

    @classmethod
    def load(cls, path: Path) -> ModelCard:
        """Read a card. Raises `ModelError` naming the file and the key that is wrong."""
        try:
            values = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read the model card {path}: {error}") from error
        if not isinstance(values, dict):
            raise ModelError(f"the model card {path} is not a mapping")
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(values) - known):
            raise ModelError(f"the model card {path} has unknown keys {unknown}; known are {sorted(known)}")
        if missing := [key for key in ("name", "task", "architecture") if key not in values]:
            raise ModelError(f"the model card {path} lacks {missing}")
        for key, value in values.items():
            if wrong := _fault(key, value):
                raise ModelError(f"{key} of the model card {path} {wrong}")
        return cls(**values)

    def settings(self, kind: type[Settings], key: str = "tracking") -> Settings:
        """``tracking`` or ``parameters`` as the dataclass of an architecture; `parameters.parameter` makes its fields.

        Raises `ModelError` for a key that is not known or missing, or a value of another type or out of its range.
        """
        try:
            made: Settings = make_parameters(kind, getattr(self, key))
        except InvalidRequestError as error:
            raise ModelError(f"{key} in the card of model {self.name!r}: {error}") from error
        return made

    def save(self, path: Path) -> None:
        """Write a card; what is empty is left out."""
        values = {key: value for key, value in asdict(self).items() if value not in ({}, "")}  # no aliases: copies
        path.write_text(yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None))


TEXTS = frozenset({"name", "task", "architecture", "description", "licence", "origin"})


def _fault(key: str, value: Any) -> str:
    """What is wrong with the value of a key, empty where nothing is."""
    if key in TEXTS:
        return "" if isinstance(value, str) else f"is {value!r}, it must be a text"
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return f"is {value!r}, it must be a mapping of names"
    if key == "thresholds":
        for name, number in value.items():
            if not _is_number(number) or not 0 <= number <= 1:
                return f"has {name}: {number!r}, it must be a number from 0 to 1"
    if key == "calibration":
        for name, numbers in value.items():
            if not isinstance(numbers, list) or not all(map(_is_number, numbers)):
                return f"has {name}: {numbers!r}, it must be a list of finite numbers"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
