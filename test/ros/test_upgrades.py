import threading
import time

import numpy as np
import pytest
from patience import PATIENCE

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.inference.swappable import SwappableEngine
from deep_tracking_ros.ros.upgrades import Upgrades

NETWORK = Network("double", (TensorSpec("x", (1,)),), (TensorSpec("y", (1,)),), "digest")
X = np.ones(1, np.float32)


class Times(Engine):
    def __init__(self, backend, factor):
        super().__init__(NETWORK, "fp32")
        self.backend, self.factor = backend, factor

    def run(self, arrays):
        return {"y": arrays["x"] * self.factor}


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_present_engine_serves_until_the_better_one_is_ready():
    release, texts = threading.Event(), []

    def build(progress):
        assert progress(0.4, "tactics")
        release.wait(PATIENCE)
        return Times("tensorrt", 2)

    engine = SwappableEngine(Times("onnxruntime", 2), build)
    upgrades = Upgrades([engine], texts.append, texts.append)
    until(lambda: upgrades.progress == "double: 40%")
    assert engine(x=X)["y"] == 2
    release.set()
    until(lambda: not upgrades.progress)
    assert engine(x=X)["y"] == 2
    assert engine.backend == "tensorrt"
    assert any("onnxruntime serves meanwhile" in text for text in texts)


def test_stopping_ends_the_build_and_waits_for_it():
    stopped = threading.Event()

    def build(progress):
        while progress(0.1, "slow"):
            time.sleep(0.005)
        stopped.set()
        raise EngineError("the build was stopped")

    warnings = []
    upgrades = Upgrades([SwappableEngine(Times("torch", 2), build)], lambda text: None, warnings.append)
    until(lambda: upgrades.progress)
    upgrades.stop()
    assert stopped.is_set()
    assert not warnings


def test_an_engine_that_cannot_be_built_leaves_the_present_one():
    def build(progress):
        raise EngineError("no memory left")

    engine, warnings = SwappableEngine(Times("torch", 2), build), []
    upgrades = Upgrades([engine], lambda text: None, warnings.append)
    until(lambda: warnings)
    upgrades.stop()
    assert "stays on torch: no memory left" in warnings[0]
    assert engine(x=X)["y"] == 2


def test_an_engine_that_gives_other_numbers_is_not_taken():
    warnings = []
    engine = SwappableEngine(Times("torch", 2), lambda progress: Times("tensorrt", 3))
    upgrades = Upgrades([engine], lambda text: None, warnings.append)
    until(lambda: warnings)
    upgrades.stop()
    assert "stays on torch: network 'double' on tensorrt in fp32 is off by 0.5" in warnings[0]
    assert engine(x=X)["y"] == 2


def test_a_fault_of_one_build_does_not_hold_up_the_next():
    def broken(progress):
        progress(0.5, "tactics")
        raise ZeroDivisionError("a fault of the builder")

    first = SwappableEngine(Times("torch", 2), broken)
    second = SwappableEngine(Times("torch", 2), lambda progress: Times("tensorrt", 2))
    warnings = []
    upgrades = Upgrades([first, second], lambda text: None, warnings.append)
    until(lambda: second.backend == "tensorrt")
    until(lambda: not upgrades.progress)
    assert warnings == ["network double stays on torch: ZeroDivisionError: a fault of the builder"]


def test_stopping_does_not_wait_for_ever():
    release, warnings = threading.Event(), []

    def build(progress):
        progress(0.4, "tactics")
        release.wait(PATIENCE)
        return Times("tensorrt", 2)

    engine = SwappableEngine(Times("torch", 2), build)
    upgrades = Upgrades([engine], lambda text: None, warnings.append)
    until(lambda: upgrades.progress)
    began = time.monotonic()
    upgrades.stop(patience=0.1)
    assert time.monotonic() - began < PATIENCE / 2
    assert "double: 40%" in warnings[0]
    release.set()
    until(lambda: not upgrades.progress)


def test_ordinary_engines_start_nothing():
    before = threading.active_count()
    upgrades = Upgrades([Times("torch", 2)], pytest.fail, pytest.fail)
    assert threading.active_count() == before
    upgrades.stop()
