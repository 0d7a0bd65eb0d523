import re
import sys

import pytest
from small_networks import correlation, pick
from typer.testing import CliRunner

from deep_tracking_ros.cli.engines import app
from deep_tracking_ros.errors import EngineError, ModelError
from deep_tracking_ros.inference import EngineCache
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.gpu import Gpu
from deep_tracking_ros.inference.tensorrt_library import RTX, load_tensorrt
from deep_tracking_ros.models.store import list_models


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command with a cache of its own and gives what it prints; its errors are raised."""
    monkeypatch.setenv("DTR_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return run


def test_list_and_clear_tell_sound_entries_from_damaged_ones(run, tmp_path):
    assert "is empty" in run("list")
    onnx_model(correlation(), EngineCache())
    assert re.search(r"correlation .* onnx .* fp32 .* torch .* sound", run("list"))
    (path,) = tmp_path.glob("*.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    assert "its checksum is wrong" in run("list")
    assert "removed 1 entries" in run("clear")
    assert "is empty" in run("list")


def test_an_unknown_model_lists_the_known(run):
    with pytest.raises(ModelError, match="there is no model 'nope'; known are: "):
        run("build", "nope")


def test_build_without_a_gpu_says_so(run, monkeypatch):
    def none():
        raise EngineError("there is no NVIDIA driver")

    monkeypatch.setattr("deep_tracking_ros.inference.builder.find_gpu", none)
    with pytest.raises(EngineError, match="there is no NVIDIA driver"):
        run("build", "siamfc")


def test_build_without_tensorrt_says_what_is_missing(run, no_tensorrt, monkeypatch):
    monkeypatch.setattr("deep_tracking_ros.inference.builder.find_gpu", lambda: Gpu("a GPU", "8.9"))
    with pytest.raises(EngineError, match="there is no module tensorrt"):
        run("build", list_models("single_object")[0].card.name)


def test_check_without_the_wheels_says_what_to_install(run, no_tensorrt):
    output = run("check")
    assert "skipped, nothing was checked" in output
    assert "'rtx'" in output


@pytest.mark.slow
def test_check_builds_every_network_of_the_package_in_every_precision(run):
    try:
        load_tensorrt(RTX)
    except EngineError as error:
        pytest.skip(f"TensorRT-RTX is not here ({error}); install the extra 'rtx'")
    from deep_tracking_ros.single_object.registry import networks

    names = [network.name for model in list_models("single_object") for network in networks(model)]
    output = run("check")
    assert len(re.findall(r"\bbuilt +│", output)) == 3 * len(names)
    assert all(name in output for name in names)


@pytest.mark.slow
def test_check_reports_what_cannot_be_built(run, monkeypatch):
    try:
        load_tensorrt(RTX)
    except EngineError as error:
        pytest.skip(f"TensorRT-RTX is not here ({error}); install the extra 'rtx'")
    monkeypatch.setattr(sys.modules["deep_tracking_ros.cli.engines"], "_networks", lambda model: (pick(),))
    with pytest.raises(EngineError, match="3 of 3 engines cannot be built"):
        run("check", list_models()[0].card.name)
