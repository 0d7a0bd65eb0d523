"""Message definitions without rclpy: what a bag needs so that any reader can open it, and CDR from plain objects."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deep_tracking_ros.errors import DataError

PACKAGE = "deep_tracking_ros"


def share_folders(package: str) -> Iterator[Path]:
    """Folders that may hold ``msg/``, ``config/`` and ``launch/`` of a ROS package, nearest first."""
    if package == PACKAGE:
        yield Path(__file__).resolve().parents[2]  # the checkout
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in (*prefixes, Path(sys.prefix)):
        yield prefix / "share" / package


def share_file(name: str, package: str = PACKAGE) -> Path:
    """A file that the package ships, such as ``config/single_object_tracker.yaml``. Raises `DataError`."""
    folders = list(share_folders(package))
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise DataError(f"{package} has no {name}; looked in {', '.join(str(f) for f in folders)}")


@cache
def _store() -> Any:
    """The types of Jazzy's common packages and our own, as rosbags has them."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(share_file("msg/TrackedBoxArray.msg").parent.glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"{PACKAGE}/msg/{path.stem}"))
    store.register(types)
    return store


def typestore(*names: str) -> Any:
    """The store of all known types, with these (``package/msg/Name``) and all that they are made of in it.

    Types that are neither common nor ours are read from the ``.msg`` files of the ROS workspace in use.
    Raises `DataError` where there is no such file.
    """
    from rosbags.typesys import get_types_from_msg

    store = _store()
    waiting = [name for name in names if name not in store.fielddefs]
    found: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        package, kind, stem = name.split("/")
        try:
            text = share_file(f"{kind}/{stem}.msg", package).read_text()
        except DataError as error:
            raise DataError(f"no definition of the message type {name}: source its workspace ({error})") from None
        found.update(get_types_from_msg(text, name))
        used = {part[1] for _, part in _parts(found[name][1])}
        waiting += [n for n in used if isinstance(n, str) and n not in store.fielddefs and n not in found]
    if found:
        store.register(found)
    return store


def learn(name: str, definition_: str) -> None:
    """Take the definition of a type, with all that it is made of, from a bag; what is known already stays."""
    from rosbags.typesys import get_types_from_msg

    store = _store()
    if name not in store.fielddefs:
        found = get_types_from_msg(definition_, name)
        store.register({key: value for key, value in found.items() if key not in store.fielddefs})


def _parts(fields: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Name and element of every field; sequences and arrays are opened."""
    for name, (node, value) in fields:
        yield name, value[0] if node.name in ("ARRAY", "SEQUENCE") else (node, value)


def definition(name: str) -> tuple[str, str]:
    """The ``ros2msg`` text of a type with all that it is made of, and its RIHS01 hash."""
    store = typestore(name)
    return store.generate_msgdef(name, ros_version=2)[0], store.hash_rihs01(name)


def make(name: str, source: Any = None) -> Any:
    """A message of type ``package/msg/Name`` as rosbags has it, with ROS's default values or those of ``source``.

    ``source`` is any object with the same attributes, such as an rclpy message.
    """
    store = typestore(name)
    fields = {}
    for field, (node, value) in store.fielddefs[name][1]:
        given = getattr(source, field, None)
        if node.name == "NAME":
            fields[field] = make(value, given)
        elif node.name == "BASE":
            fields[field] = _ZEROS.get(value[0], 0) if given is None else _plain(given)
        else:
            (inner, element), length = value
            if inner.name == "NAME":
                fields[field] = [make(element, item) for item in (given if given is not None else [None] * length)]
            elif element[0] == "string":
                fields[field] = list(given) if given is not None else [""] * length
            else:
                fields[field] = _array(given, element[0], length)
    return store.types[name](**fields)


_ZEROS: dict[str, Any] = {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, bytes) else value  # rclpy has the type byte as bytes


def _array(given: Any, element: str, length: int) -> np.ndarray:
    dtype = np.dtype({"byte": "uint8", "octet": "uint8", "char": "uint8"}.get(element, element))
    if given is None:
        return np.zeros(length, dtype)
    if isinstance(given, (bytes, bytearray, memoryview)):
        return np.frombuffer(given, dtype)
    return np.ascontiguousarray(given, dtype).reshape(-1)  # rosbags looks at its bytes


def serialize(message: Any, name: str) -> bytes:
    """CDR of any object that has the attributes of the type, such as an rclpy message."""
    return bytes(typestore(name).serialize_cdr(make(name, message), name))


def deserialize(data: bytes, name: str) -> Any:
    """The message of this CDR as rosbags has it."""
    return typestore(name).deserialize_cdr(data, name)


def message_class(name: str) -> Any:
    """The rclpy class of ``package/msg/Name``. Raises `DataError` where its package is not built or sourced."""
    package, kind, stem = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), stem)
    except (ImportError, AttributeError):
        advice = "build this package" if package == PACKAGE else f"sudo apt install {apt_package(package)}"
        raise DataError(
            f"the type {name} is not installed here: source the workspace that has it, or {advice}"
        ) from None


def apt_package(package: str) -> str:
    """Name of the Debian package of a ROS package, for the distribution in use."""
    return f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"


def is_message(value: Any) -> bool:
    """Whether this is a message of rclpy or rosbags."""
    return hasattr(value, "__msgtype__") or hasattr(value, "get_fields_and_field_types")


def type_name(message: Any) -> str:
    """``package/msg/Name`` of an rclpy or rosbags message."""
    if name := getattr(message, "__msgtype__", None):
        return str(name)
    module = type(message).__module__.split(".")  # package.msg._name
    return f"{module[0]}/{module[1]}/{type(message).__name__}"
