"""What a robot must have installed for the node: no library that only offline work needs."""

import os
import subprocess
import sys

import pytest
from test_rooms import BLOCK, ROOT

OFFLINE = {"av", "onnx", "matplotlib", "rich", "typer", "skvideo"}


def run(code, folder):
    """Run code in a Python that has none of the libraries for offline work, with an empty cache of engines."""
    block = BLOCK.replace(' or name.split(".")[0].endswith("_msgs")', "")
    return subprocess.run(
        [sys.executable, "-c", f"forbidden = {OFFLINE!r}{block}{code}"],
        cwd=ROOT,
        env={**os.environ, "DTR_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.ros
def test_the_node_is_imported_without_what_is_for_offline_work(tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")
    result = run(
        "import deep_tracking_ros.ros.node, deep_tracking_ros.ros.player, deep_tracking_ros.ros.recorder", tmp_path
    )
    assert result.returncode == 0, result.stderr


def test_a_tracker_is_made_without_onnx(tmp_path):
    """Without onnx a torch network cannot be exported: torch runs it, and the reason is told."""
    code = "from deep_tracking_ros.single_object.registry import make_tracker\nmake_tracker('siamfc', log=print)"
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torch fp32 on" in result.stdout
    assert "no onnxruntime: " in result.stdout


def test_a_model_of_onnx_files_says_what_is_missing(tmp_path):
    code = """
from pathlib import Path
from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.cache import EngineCache
path = Path("LICENSE")
try:
    onnx_model(Network("it", "0", (), (), onnx=path), EngineCache())
except EngineError as error:
    print(error)
"""
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "install onnx" in result.stdout
