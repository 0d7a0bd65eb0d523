"""What is installed here, and does it give the right numbers?"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util

from deep_tracking_ros.errors import DeepTrackingError, ModelError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``advice`` is not empty where it is a problem."""

    subject: str
    text: str
    advice: str = ""

    @property
    def problem(self) -> bool:
        return bool(self.advice)


def installation(model: str = "rpt") -> Iterator[Finding]:
    """Versions, backends that give the right numbers on the model's golden input, engine cache, display."""
    yield Finding("system", f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    names = (
        "deep_tracking_ros",
        "numpy",
        "opencv-contrib-python",
        "torch",
        "onnxruntime",
        "tensorrt",
        "rosbags",
        "mcap",
    )
    yield Finding("packages", ", ".join(f"{name} {version}" for name in names if (version := _version(name))))
    yield from _ros()
    yield from _backends(model)
    yield _cache()
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    yield Finding("display", display or "none: draw boxes on a picture (target snapshot, target set --on)")


def _version(name: str) -> str:
    if name == "deep_tracking_ros":
        from deep_tracking_ros import __version__

        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _ros() -> Iterator[Finding]:
    source = "use .venv/bin/deep-tracking after `make setup`, or source your workspace's install/setup.bash"
    if util.find_spec("rclpy") is None:
        yield Finding("ROS 2", "rclpy is not to be found", f"install ROS 2 or {source}")
        return
    try:
        from rclpy.utilities import get_rmw_implementation_identifier

        rmw = get_rmw_implementation_identifier()
    except Exception as error:  # a missing shared library shows itself in many ways
        yield Finding("ROS 2", f"rclpy does not load: {error}", source)
        return
    setting = {n: os.environ.get(n) for n in ("ROS_DISTRO", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    given = ", ".join(f"{n}={v}" for n, v in setting.items() if v)
    yield Finding("ROS 2", f"{rmw}; {given or 'domain 0'}")
    if util.find_spec("deep_tracking_ros.msg") is None:
        yield Finding(
            "interfaces", "deep_tracking_ros.msg is not to be found", f"build them (`make setup`) and {source}"
        )
    else:
        yield Finding("interfaces", "deep_tracking_ros.msg, .srv and .action are built")


def _backends(model: str) -> Iterator[Finding]:
    """Each backend on the model's golden input; it is a problem only where none works."""
    from deep_tracking_ros.models.store import find_model

    try:
        found = find_model(model, "single_object")
    except DeepTrackingError as error:
        yield Finding("model", str(error), "name a model with --model, or install the package with its weights")
        return
    yield Finding("model", f"{model} in {found.folder}")
    from deep_tracking_ros.inference.parity import TOLERANCE
    from deep_tracking_ros.single_object.golden import check_golden

    working, damage = False, ""
    for backend in ("tensorrt", "onnxruntime", "torch"):
        began = time.perf_counter()
        try:
            difference = check_golden(found, backend=backend)
        except (DeepTrackingError, ImportError) as error:
            damage = str(error) if isinstance(error, ModelError) else damage
            yield Finding(f"backend {backend}", f"not here: {error}")
            continue
        took = (time.perf_counter() - began) * 1e3
        right = difference <= TOLERANCE["fp32"]
        text = (
            f"{'right' if right else 'WRONG'}: off by {difference:.1e} on the golden input ({took:.0f} ms with loading)"
        )
        advice = "" if right else "choose another backend, and clear the cache (deep-tracking engines clear)"
        yield Finding(f"backend {backend}", text, advice)
        working |= right
    if damage:
        yield Finding("model", damage, "install the package again, or import the model again")
    elif not working:
        yield Finding("backends", "none runs the model", "install onnxruntime or torch (pip install onnxruntime)")


def _cache() -> Finding:
    from deep_tracking_ros.inference.cache import EngineCache, default_folder

    entries = EngineCache().entries()
    return Finding("engine cache", f"{len(entries)} entries in {default_folder()}")
