"""Parameters are declared once, as fields of a frozen dataclass; ROS, YAML, ``--help`` and the docs read them here."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deep_tracking_ros.errors import InvalidRequestError

REQUIRED = dataclasses.MISSING
"""In the place of a default: the value has to be given."""


@dataclass(frozen=True)
class Parameter:
    """One declared parameter."""

    name: str
    type: type  # bool, int, float, str
    default: Any
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """The value in the declared type. Raises `InvalidRequestError` naming parameter, value and limits."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.type:
            kind = f"{'an' if self.type is int else 'a'} {self.type.__name__}"
            raise InvalidRequestError(f"parameter {self.name} is {value!r}, it must be {kind}")
        if self.choices and value not in self.choices:
            known = ", ".join(self.choices)
            raise InvalidRequestError(f"parameter {self.name} is {value!r}, it must be one of {known}")
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequestError(f"parameter {self.name} is {value}, it must be finite")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not low <= value <= high:
            limits = f"from {low:g} to {high:g} {self.unit}".rstrip()
            raise InvalidRequestError(f"parameter {self.name} is {value}, it must be {limits}")
        return value


def parameter(
    default: Any,
    description: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is a parameter: its default and what a user must know of it."""
    metadata = {"description": description, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def declared(parameters: Any) -> Iterator[Parameter]:
    """All parameters of a dataclass (or of an instance of one), in order."""
    hints = typing.get_type_hints(parameters if isinstance(parameters, type) else type(parameters))
    for field in dataclasses.fields(parameters):
        yield Parameter(field.name, hints[field.name], field.default, **field.metadata)


S = TypeVar("S")


def part(kind: type[S], parameters: Any, **others: Any) -> S:
    """The settings of one part, a dataclass, from the parameters of the same names.

    ``others`` are fields that are not so simple; all that is in neither keeps its default.
    """
    names = {field.name for field in dataclasses.fields(parameters)}
    common = [field.name for field in dataclasses.fields(kind) if field.name in names]  # type: ignore[arg-type]
    return kind(**{name: getattr(parameters, name) for name in common}, **others)


def make_parameters(kind: type, values: Mapping[str, Any]) -> Any:
    """An instance of a parameter dataclass from loose values, each checked.

    Raises `InvalidRequestError` for an unknown name (with the known ones), a required one that is missing, a wrong type
    or a value out of range.
    """
    known = {p.name: p for p in declared(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise InvalidRequestError(f"unknown parameters {unknown}; known are {', '.join(sorted(known))}")
    if missing := sorted(name for name, p in known.items() if p.default is REQUIRED and name not in values):
        raise InvalidRequestError(f"there are no parameters {missing}; they have no defaults")
    return kind(**{name: known[name].check(value) for name, value in values.items()})
