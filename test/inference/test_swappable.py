"""Several threads over one engine, and the exchange of engines under them."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import numpy as np
import pytest
from small_networks import batch, correlation

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.builder import build_plan
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.parity import Sample, relative_difference
from deep_tracking_ros.inference.swappable import SwappableEngine
from deep_tracking_ros.inference.tensorrt_backend import TensorRTEngine
from deep_tracking_ros.inference.torch_backend import TorchEngine

NETWORK = Network("double", (TensorSpec("x", (2,)),), (TensorSpec("y", (2,)),), "digest")
X = np.float32([1, 2])


class Times(Engine):
    """Multiplies by a factor, through one buffer as engines on a GPU do; noticing who comes in between."""

    def __init__(self, backend, factor=2.0, precision="fp32", pause=0.0):
        super().__init__(NETWORK, precision)
        self.backend, self.factor, self.pause = backend, factor, pause
        self.buffer = np.zeros(2, np.float32)

    def run(self, arrays):
        self.buffer[:] = arrays["x"]
        time.sleep(self.pause)
        return {"y": self.buffer * np.float32(self.factor)}

    def free(self):
        del self.buffer


def test_two_threads_over_one_engine_while_it_is_exchanged_again_and_again():
    engine = SwappableEngine(Times("first", pause=0.0005), lambda progress: Times("better", pause=0.0005))
    over, together = Event(), Barrier(3)

    def camera(value):
        x, count = np.float32([value, -value]), 0
        together.wait()
        while not over.is_set():
            np.testing.assert_array_equal(engine(x=x)["y"], 2 * x)
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        cameras = [pool.submit(camera, value) for value in (1, 10)]
        try:
            together.wait()
            for _ in range(50):
                engine.upgrade()
        finally:
            over.set()
        assert all(camera.result() > 5 for camera in cameras)


@pytest.mark.parametrize("tensorrt", [10], indirect=True)
def test_two_cameras_on_one_tensorrt_engine_get_their_own_results(tensorrt, cache, monkeypatch):
    """Both have the same shapes, so the same pinned buffers: camera B must not write before A has read."""
    network = correlation()
    engine = TensorRTEngine(network, build_plan(tensorrt, network, onnx_model(network, cache)), tensorrt, device="cpu")
    inputs = [batch(1, seed) for seed in (1, 2)]
    expected = [engine(**arrays)["response"] for arrays in inputs]
    assert not np.array_equal(*expected)

    copy = np.copyto

    def slow_copy(to, array):
        copy(to, array)
        time.sleep(0.002)  # lets the other thread come in where it should not

    monkeypatch.setattr(np, "copyto", slow_copy)
    together = Barrier(2)

    def camera(index):
        together.wait()
        return [engine(**inputs[index])["response"] for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        for results, wanted in zip(pool.map(camera, (0, 1)), expected, strict=True):
            for result in results:
                np.testing.assert_array_equal(result, wanted)


def test_the_engine_swapped_out_is_closed_when_its_call_is_done():
    inside, go_on = Event(), Event()

    class Slow(Times):
        def run(self, arrays):
            inside.set()
            assert go_on.wait(5)
            return super().run(arrays)

    old, new = Slow("torch"), Times("tensorrt", 3)
    engine, results = SwappableEngine(old, lambda progress: new), []
    camera = Thread(target=lambda: results.append(engine(x=X)["y"]))
    camera.start()
    assert inside.wait(5)
    swapping = Thread(target=engine.swap, args=(new,))
    swapping.start()
    time.sleep(0.02)
    assert not old.closed
    go_on.set()
    camera.join()
    swapping.join()
    np.testing.assert_array_equal(results, [2 * X])
    assert old.closed
    np.testing.assert_array_equal(engine(x=X)["y"], 3 * X)
    assert engine.backend == "tensorrt"
    engine.close()
    assert new.closed


def test_a_closed_engine_says_so_and_takes_no_other():
    new = Times("tensorrt")
    engine = SwappableEngine(Times("torch"), lambda progress: new)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="'double' was closed"):
        engine(x=X)
    engine.swap(new)
    assert new.closed


@pytest.mark.parametrize(
    ("precision", "factor", "text"),
    [
        ("fp32", 2.06, r"'double' on tensorrt in fp32 is off by 0\.03.*limit 0\.01"),
        ("fp16", 2.2, r"fp16 is off by 0\.1.*limit 0\.03"),
        ("bf16", 1.0, r"bf16 is off by 0\.5.*limit 0\.1"),
        ("fp32", np.nan, "off by inf"),
    ],
)
def test_an_engine_that_gives_other_numbers_is_refused_and_the_present_one_goes_on(precision, factor, text):
    new = Times("tensorrt", factor, precision)
    engine = SwappableEngine(Times("torch", precision=precision), lambda progress: new)
    with pytest.raises(EngineError, match=text):
        engine.upgrade()
    assert new.closed
    np.testing.assert_array_equal(engine(x=X)["y"], 2 * X)
    assert engine.backend == "torch"


@pytest.mark.parametrize(("precision", "factor"), [("fp32", 2.001), ("fp16", 2.02), ("bf16", 2.1)])
def test_rounding_of_the_precision_is_let_pass(precision, factor):
    new = Times("tensorrt", factor, precision)
    engine = SwappableEngine(Times("torch", precision=precision), lambda progress: new)
    engine.upgrade()
    assert engine.backend == "tensorrt"
    assert "off by " in engine.reason


def test_a_better_engine_is_tried_on_the_sample_that_it_is_given():
    """What the model was made with counts, not what the present engine says."""
    engine = SwappableEngine(Times("torch"), lambda progress: Times("tensorrt", 3), Sample({"x": X}, {"y": 3 * X}))
    engine.upgrade()
    np.testing.assert_array_equal(engine(x=X)["y"], 3 * X)


def test_an_engine_that_fails_at_its_trial_is_closed():
    class Broken(Times):
        def run(self, arrays):
            raise RuntimeError("out of memory")

    new = Broken("tensorrt")
    engine = SwappableEngine(Times("torch"), lambda progress: new)
    with pytest.raises(EngineError, match="tensorrt failed on network 'double': out of memory"):
        engine.upgrade()
    assert new.closed
    assert not engine.closed


def test_noise_is_fit_for_every_network(cache):
    """Where no sample is given both engines run on the same batch of noise."""
    engine = SwappableEngine(
        TorchEngine(correlation(), device="cpu"), lambda progress: TorchEngine(correlation(), device="cpu")
    )
    engine.upgrade()
    assert "off by 0.0e+00" in engine.reason


@pytest.mark.parametrize(
    ("seen", "difference"),
    [([4.0, 2.0], 0.0), ([4.0, 1.0], 0.25), ([4.0, np.nan], np.inf), ([4.0], np.inf), ([np.inf, 2.0], np.inf)],
)
def test_difference_is_relative_to_the_largest_magnitude(seen, difference):
    assert relative_difference({"y": np.float32(seen)}, {"y": np.float32([4, 2])}) == difference
