import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from fake_tensorrt import MAGIC, make_tensorrt
from small_networks import batch, correlation, pick

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference import Network, TensorSpec, make_engine
from deep_tracking_ros.inference.builder import build_engine, build_plan, engine_key, engine_ready
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.precision import PRECISIONS
from deep_tracking_ros.inference.tensorrt_library import FULL, RTX, RTX_WHEELS, library_name, load_tensorrt

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_generation_gets_precision_its_own_way(tensorrt, cache, precision):
    build_plan(tensorrt, correlation(), onnx_model(correlation(), cache), precision)
    ((_, flags, profiles),) = [call for call in tensorrt.calls if call[0] == "build"]
    ((_, types_of_weights),) = [call for call in tensorrt.calls if call[0] == "parse"]
    half = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}.get(precision)
    if tensorrt.generation == 10:
        assert flags == ((precision.upper(),) if half else ())
        assert half not in types_of_weights
    else:
        assert flags == ()
        assert (half in types_of_weights) == bool(half)
    low, best, high = (n for n in (1, 2, 4))
    assert profiles == [
        {name: [(n, 3, size, size) for n in (low, best, high)] for name, size in (("template", 31), ("search", 63))}
    ]


def test_parser_and_builder_are_quoted(tensorrt, cache):
    model = onnx_model(correlation(), cache)
    with pytest.raises(EngineError, match=r"cannot parse network 'pick': In node 0 \(parseNode\): NonZero is not"):
        build_plan(tensorrt, pick(), onnx_model(pick(), cache))
    with pytest.raises(EngineError, match="an ONNX file is damaged"):
        build_plan(tensorrt, correlation(), b"junk")
    tensorrt.calls.insert(0, "refuse")
    with pytest.raises(EngineError, match="cannot build network 'correlation' in fp32: no kernel for this layer"):
        build_plan(tensorrt, correlation(), model)


def test_progress_rises_to_one_and_can_stop_the_build(tensorrt, cache):
    model, heard = onnx_model(correlation(), cache), []
    build_plan(tensorrt, correlation(), model, progress=lambda fraction, text: heard.append((fraction, text)))
    assert [fraction for fraction, _ in heard] == [0, 0, 0.25, 0.5, 0.5, 1, 1]
    with pytest.raises(EngineError, match="the build was stopped"):
        build_plan(tensorrt, correlation(), model, progress=lambda fraction, text: fraction < 0.25)


def test_engines_are_kept_per_gpu_precision_and_library(tensorrt, fake_gpu, cache, monkeypatch):
    network = correlation()
    assert not engine_ready(network, "fp32", cache)
    assert build_engine(network, "fp32", cache).startswith(MAGIC)
    assert engine_ready(network, "fp32", cache)
    build_engine(network, "fp32", cache)
    assert sum(call[0] == "build" for call in tensorrt.calls) == 1
    assert not engine_ready(network, "fp16", cache)
    assert not engine_ready(correlation("e" * 64), "fp32", cache)
    key = engine_key(network, "fp32")
    assert (key.library, key.device) == (library_name(tensorrt), "NVIDIA Test, compute capability 8.9")
    monkeypatch.setattr(tensorrt, "__version__", "10.99")
    assert not engine_ready(network, "fp32", cache)


def test_without_a_gpu_tensorrt_is_not_used(tensorrt, cache, monkeypatch):
    def none():
        raise EngineError("there is no NVIDIA driver")

    monkeypatch.setattr("deep_tracking_ros.inference.builder.find_gpu", none)
    with pytest.raises(EngineError, match="there is no NVIDIA driver"):
        build_engine(correlation(), cache=cache)


def test_building_for_an_absent_gpu_is_for_rtx_only(tensorrt, cache):
    with pytest.raises(EngineError, match="cannot build for SM89 without such a GPU"):
        build_plan(tensorrt, correlation(), onnx_model(correlation(), cache), compute_capability="SM89")


def test_profiles_must_be_given_and_in_order(tensorrt, cache):
    network = correlation()
    for spec, text in (
        (TensorSpec("template", (-1, 3, 31, 31)), "needs minimum, optimum and maximum"),
        (
            TensorSpec("template", (-1, 3, 31, 31), "f4", (4, 3, 31, 31), (2, 3, 31, 31), (1, 3, 31, 31)),
            "in this order",
        ),
    ):
        wrong = Network("wrong", (spec, network.inputs[1]), network.outputs, "", network.module)
        with pytest.raises(EngineError, match=text):
            build_plan(tensorrt, wrong, onnx_model(network, cache))


def test_modules_that_do_not_work_are_passed_over_with_reasons(monkeypatch):
    old = make_tensorrt(10, [])
    old.__version__, old.__spec__ = "8.6.1", object()
    old.ICudaEngine.get_binding_shape = None
    stubs = types.ModuleType("tensorrt_rtx")
    stubs.__spec__ = object()
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", stubs)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(EngineError) as error:
        load_tensorrt()
    assert str(error.value) == (
        "tensorrt is version 8.6.1, this package needs 10 or newer; tensorrt_rtx holds type stubs only; "
        "there is no module tensorrt_rtx_bindings"
    )


@pytest.mark.slow
def test_code_fits_the_type_stubs_of_tensorrt(tmp_path):
    """mypy over the TensorRT code with NVIDIA's stubs, whose errors of generation are mended first."""
    site = Path(__import__("numpy").__file__).parents[1]
    if not (site / "tensorrt_bindings" / "tensorrt.pyi").exists():
        pytest.skip("tensorrt-stubs is not installed (requirements/no-deps.txt)")
    pytest.importorskip("mypy")
    for name in ("tensorrt", "tensorrt_bindings"):
        shutil.copytree(site / name, tmp_path / "stubs" / name, ignore=shutil.ignore_patterns("*.so", "*.py"))
    stub = tmp_path / "stubs" / "tensorrt_bindings" / "tensorrt.pyi"
    text = stub.read_text()
    for pattern, mended in (
        (r"\bin: ", "in_: "),  # keywords as argument names
        (r"channel_axis: int\) -> IScaleLayer", "channel_axis: int = ...) -> IScaleLayer"),
        (r"(?m)^bool: DataType.*$", ""),  # hides the builtin
        (r"\b(min|opt|max|shape): Dims\b", r"\1: Dims | tuple[int, ...]"),  # implicit conversion
        (r"(?m)^class Dims:", "class Dims(typing.Iterable[int]):"),  # sequence protocol
    ):
        assert re.search(pattern, text)
        text = re.sub(pattern, mended, text)
    stub.write_text(text)
    sources = sorted(str(path) for path in (ROOT / "deep_tracking_ros" / "inference").glob("*.py"))
    probe = tmp_path / "probe.py"  # shows that the stubs are really looked at
    probe.write_text("import tensorrt\nreveal_type(tensorrt.IExecutionContext.execute_async_v3)\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *sources, str(probe)]
    environment = os.environ | {"MYPYPATH": str(tmp_path / "stubs")}
    output = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout
    assert "stream_handle: int" in output
    assert [line for line in output.splitlines() if line.startswith("deep_tracking_ros/inference")] == []


@pytest.fixture
def rtx():
    try:
        return load_tensorrt(RTX)
    except EngineError as error:
        pytest.skip(f"TensorRT-RTX is not here ({error}); it needs the wheels {RTX_WHEELS}")


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_real_rtx_builder_builds_without_a_gpu(rtx, cache, precision):
    heard = []
    plan = build_plan(
        rtx, correlation(), onnx_model(correlation(), cache), precision, lambda f, text: heard.append(f), "SM89"
    )
    assert len(plan) > 100_000
    assert heard == sorted(heard)
    assert heard[-1] == 1
    assert len(heard) > 20


@pytest.mark.slow
def test_the_real_rtx_parser_is_quoted(rtx, cache):
    with pytest.raises(EngineError, match=r"TensorRT cannot parse network 'pick': .*NonZero"):
        build_plan(rtx, pick(), onnx_model(pick(), cache), compute_capability="SM89")


@pytest.mark.slow
def test_the_real_rtx_build_can_be_stopped(rtx, cache):
    with pytest.raises(EngineError, match="cannot build network"):
        build_plan(rtx, correlation(), onnx_model(correlation(), cache), "fp32", lambda f, text: f < 0.3, "SM89")


@pytest.mark.gpu
def test_on_a_real_gpu_an_engine_is_built_and_found_again(cache):
    try:
        load_tensorrt(FULL)
        engine_key(correlation())
    except EngineError as error:
        pytest.skip(f"TensorRT does not work here: {error}")
    engine = make_engine(correlation(), cache=cache)
    engine.upgrade()
    engine(**batch(2))
    assert engine.backend == "tensorrt"
    assert engine_ready(correlation(), "fp32", cache)
