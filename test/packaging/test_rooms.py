"""Floors and what they may import: with import-linter, and by importing them where ROS is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Forbids modules by name, then runs the rest of the command line's code.
BLOCK = """
import importlib, pkgutil, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in forbidden or name.split(".")[0].endswith("_msgs"):
            raise ModuleNotFoundError(f"{name} is blocked by this test", name=name)
sys.meta_path.insert(0, Block())
"""
WALK = """
import deep_tracking_ros as package
names = [m.name for m in pkgutil.walk_packages(package.__path__, "deep_tracking_ros.") if choose(m.name.split(".")[1])]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_package_imports_nothing_heavy():
    loaded = run("import sys; before = set(sys.modules); import deep_tracking_ros; print(*set(sys.modules) - before)")
    roots = {name.split(".")[0] for name in loaded.split()}
    assert roots <= {"deep_tracking_ros", *sys.stdlib_module_names}


def test_floors_1_to_3_import_without_ros():
    count = run(
        "forbidden = {'rclpy', 'rosbags', 'mcap', 'launch', 'rcl_interfaces', 'builtin_interfaces'}"
        + BLOCK
        + "choose = lambda room: room not in ('ros', 'cli', 'msg', 'srv', 'action')"
        + WALK
    )
    assert int(count) > 20


def test_the_command_line_starts_without_ros_and_without_heavy_libraries():
    """Help and completion must come at once: libraries are imported by the verb that needs them, when it runs."""
    count = run(
        "forbidden = {'rclpy', 'torch', 'onnx', 'onnxruntime', 'matplotlib', 'tensorrt', 'scipy'}"
        + BLOCK
        + "choose = lambda room: room == 'cli'"
        + WALK
    )
    assert int(count) > 5


def test_launch_description_is_plain_python():
    """Launch files read it with the system's Python, where nothing but the package may be there."""
    run("forbidden = {'rclpy', 'torch', 'cv2', 'onnxruntime', 'launch'}" + BLOCK + "import deep_tracking_ros.ros.nodes")


def test_rooms_keep_to_their_floors():
    linter = Path(sys.executable).parent / "lint-imports"
    if not linter.exists():
        pytest.skip("import-linter is not installed (requirements/dev.txt)")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_room_is_under_a_contract():
    contracts = (ROOT / "pyproject.toml").read_text()
    rooms = {p.parent.name for p in (ROOT / "deep_tracking_ros").glob("*/__init__.py")}
    assert {room for room in rooms if f"deep_tracking_ros.{room}" not in contracts} == set()
