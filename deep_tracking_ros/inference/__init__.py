"""Networks behind one call: torch, ONNX Runtime or TensorRT, and the cache of exported and built networks."""

from deep_tracking_ros.inference.cache import EngineCache
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.inference.factory import make_engine
from deep_tracking_ros.inference.swappable import SwappableEngine

__all__ = ["Engine", "EngineCache", "Network", "SwappableEngine", "TensorSpec", "make_engine"]
