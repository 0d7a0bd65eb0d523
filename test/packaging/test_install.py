"""What a user gets: the wheel of ``pip install .``, and the command and environment that ``make setup`` leaves."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / ".venv" / "bin" / "deep-tracking"
SHARED = ("msg", "srv", "action", "config", "launch")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in the wheel, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("deep_tracking_ros", *SHARED):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, "./source"]
    result = subprocess.run(build, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(path).namelist())


def tracked(folder: str) -> set[str]:
    return {
        str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }


def test_the_wheel_holds_modules_weights_and_types(wheel):
    assert tracked("deep_tracking_ros") <= wheel
    assert "deep_tracking_ros/py.typed" in wheel
    assert any(name.startswith("deep_tracking_ros/weights/") and name.endswith(".safetensors") for name in wheel)


def test_the_wheel_holds_interfaces_and_parameters_where_ros_packages_have_them(wheel):
    for name in set().union(*(tracked(folder) for folder in SHARED)):
        assert any(entry.endswith(f".data/data/share/deep_tracking_ros/{name}") for entry in wheel), name


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"deep_tracking_ros"}


@pytest.mark.skipif(not COMMAND.exists(), reason="no .venv/bin/deep-tracking: make setup was not run here")
class TestCommand:
    def test_runs_from_any_folder_with_nothing_sourced(self, tmp_path):
        (tmp_path / "types.py").write_text("raise RuntimeError('a file of the user must not shadow a module')")
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        for command in (COMMAND, tmp_path / "link"):
            if not command.exists():
                command.symlink_to(COMMAND)
            result = subprocess.run([command, "--version"], cwd=tmp_path, env=bare, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr

    @pytest.mark.ros
    def test_a_sourced_ros_is_neither_mixed_in_nor_lost(self, tmp_path):
        other = tmp_path / "lib" / "python"
        for name in ("rclpy", "only_there"):
            (other / name).mkdir(parents=True)
            (other / name / "__init__.py").write_text("")
        code = "import rclpy, only_there, deep_tracking_ros.msg; print(rclpy.__file__)"
        bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(other), "AMENT_PREFIX_PATH": str(tmp_path)}
        script = f'. "{ROOT}/scripts/env.sh"; python -c "{code}"; echo "$AMENT_PREFIX_PATH"'
        result = subprocess.run(["bash", "-uec", script], cwd=tmp_path, env=bare, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        rclpy_file, prefixes = result.stdout.split()
        assert rclpy_file.startswith(str(ROOT / ".venv"))
        assert prefixes.split(os.pathsep)[-1] == str(tmp_path)

    @pytest.mark.parametrize("shell", ["bash", "dash"])
    def test_the_environment_can_be_sourced_twice(self, shell):
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} on this machine")
        source = ". scripts/env.sh; printenv PATH PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH;"
        bare = {"PATH": "/usr/bin:/bin"}
        run = lambda text: subprocess.check_output([shell, "-c", text], cwd=ROOT, env=bare, text=True)  # noqa: E731
        assert run(source) * 2 == run(source * 2)
