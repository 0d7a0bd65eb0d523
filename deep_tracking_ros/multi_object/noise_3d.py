"""What is known of classes of objects in space: how they move, how well they are detected, and how that is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.multi_object.motion_3d import Noise

OTHER = "other"
"""The row of all classes without one of their own."""
NOISE: Mapping[str, Noise] = {
    "car": Noise(0.3, 0.2, 0.15, speed=10, acceleration=3, turn=0.3, turn_acceleration=0.5, climb=0.5),
    "pedestrian": Noise(0.15, 0.1, 0.5, speed=2, acceleration=1.5, turn=1.0, turn_acceleration=1.5, climb=0.3),
    "cyclist": Noise(0.2, 0.15, 0.2, speed=6, acceleration=2, turn=0.5, turn_acceleration=0.8, climb=0.3),
    OTHER: Noise(0.3, 0.2, 0.3, speed=5, acceleration=3, turn=0.5, turn_acceleration=0.8, climb=0.5),
}
"""Names in lower case."""
_FIELDS = tuple(f.name for f in dataclasses.fields(Noise))
_LARGEST = 1000.0


def noise_text(noise: Mapping[str, Noise]) -> str:
    """A table of noise as YAML, one class a line; what `read_noise` reads."""
    rows = ((name, ", ".join(f"{f}: {getattr(row, f):g}" for f in _FIELDS)) for name, row in noise.items())
    return "".join(f"{name}: {{{numbers}}}\n" for name, numbers in rows)


def read_noise(text: str) -> dict[str, Noise]:
    """The noise of all classes from YAML, such as ``bus: {speed: 12, size: 0.4}``.

    Classes that are not named keep their row of `NOISE`; of those that are, numbers that are not named are those of
    that row, or of ``other`` where the class has none. Raises `InvalidRequestError` for text that is no such table, an
    unknown number and one that is not above 0.
    """
    import yaml

    try:
        table = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"noise cannot be read as YAML: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise InvalidRequestError(f"noise is {text!r}, it must give numbers by class, such as car: {{speed: 10}}")
    table = {str(name).lower(): row for name, row in table.items()}
    noise = dict(NOISE)
    for name in sorted(table, key=lambda name: name != OTHER):  # first the row that others fall back on
        noise[name] = _changed(name, noise.get(name, noise[OTHER]), table[name])
    return noise


def _changed(name: str, noise: Noise, numbers: Mapping[Any, Any]) -> Noise:
    for field, value in numbers.items():
        if field not in _FIELDS:
            raise InvalidRequestError(f"noise of {name} has no {field!r}; numbers are {', '.join(_FIELDS)}")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < value <= _LARGEST:
            raise InvalidRequestError(
                f"{field} of noise of {name} is {value!r}, it must be a number above 0, to {_LARGEST:g}"
            )
    return dataclasses.replace(noise, **{field: float(value) for field, value in numbers.items()})
