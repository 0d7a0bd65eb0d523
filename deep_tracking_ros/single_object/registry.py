"""Single-object trackers by name: an architecture is declared here, a model names its architecture."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.models.store import Model, find_model
from deep_tracking_ros.single_object.tracker import SingleObjectTracker

TASK = "single_object"


@dataclass(frozen=True)
class Architecture:
    """Where a method's code is: a module of this room, with a function ``networks(model)`` and a tracker class.

    The class is called with the model and a function that makes an engine of a network.
    """

    module: str
    tracker: str

    def load(self, name: str) -> Any:
        return getattr(importlib.import_module(f"deep_tracking_ros.single_object.{self.module}"), name)


ARCHITECTURES: dict[str, Architecture] = {
    "atom": Architecture("atom", "AtomTracker"),
    "goturn": Architecture("goturn", "GoturnTracker"),
    "mdnet": Architecture("mdnet", "MDNetTracker"),
    "rpt": Architecture("rpt", "RPTTracker"),
    "siamese_box": Architecture("siamese_box", "SiameseBoxTracker"),
    "siamfc": Architecture("siamfc", "SiamFCTracker"),
    "siammask": Architecture("siammask", "SiamMaskTracker"),
    "siamrpn": Architecture("siamrpn", "SiamRPNTracker"),
    "transt": Architecture("transt", "TransTTracker"),
}


def architecture(model: Model) -> Architecture:
    """Raises `ModelError` listing the known architectures where the card names another one."""
    try:
        return ARCHITECTURES[model.card.architecture]
    except KeyError:
        raise ModelError(
            f"model {model.card.name!r} has the architecture {model.card.architecture!r}, which is not known; "
            f"known are: {', '.join(sorted(ARCHITECTURES))}"
        ) from None


def networks(model: Model) -> tuple[Network, ...]:
    """All networks of a model, before a backend was chosen. Raises `ModelError`."""
    made: tuple[Network, ...] = architecture(model).load("networks")(model)
    return made


def make_tracker(
    model: str | Model,
    backend: str = "auto",
    precision: str = "fp32",
    threads: int = 0,
    log: Callable[[str], None] | None = None,
) -> SingleObjectTracker:
    """A tracker ready to start targets.

    Each network runs once on its part of the model's ``golden.npz`` before it serves, and so does a TensorRT engine
    that is swapped in later. A model without that file is not tried, and ``log`` says so.

    Args:
        model: name of a model, path of its folder, or the model itself; ``FIRST+SECOND`` is the first one's tracker
            with the second's masks after it (`refined`), the second being a SiamMask.
        backend: 'auto', 'tensorrt', 'onnxruntime' or 'torch'.
        precision: 'fp32', 'fp16' or 'bf16'.
        threads: CPU threads of the engines, 0 = their own choice; with torch those of the whole process. A tracker that
            learns online sets these too, to 1 where this is 0: its problems are small, more threads only wait.
        log: told once per network which backend was chosen and why, and how far off the golden sample it is.

    Raises:
        ModelError: no such model, or one that is damaged or does not fit its architecture.
        EngineError: the backend cannot run here, or is off the golden sample by more than rounding.
    """
    from deep_tracking_ros.inference.factory import make_engine
    from deep_tracking_ros.single_object.golden import golden_sample

    if isinstance(model, str) and "+" in model and not Path(model).expanduser().exists():
        first, _, second = model.rpartition("+")
        return _refined(make_tracker(first, backend, precision, threads, log), second, backend, precision, threads, log)
    found = find_model(model, TASK) if isinstance(model, str) else model
    has_golden = (found.folder / "golden.npz").exists()
    if not has_golden and log is not None:
        log(f"model {found.card.name} has no golden.npz: whether its networks give the right numbers is not known")

    def make(network: Network) -> Engine:
        sample = golden_sample(found, network) if has_golden else None
        return make_engine(network, backend, precision, threads=threads, log=log, sample=sample)

    tracker: SingleObjectTracker = architecture(found).load(architecture(found).tracker)(found, make)
    if tracker.learns:
        import torch

        torch.set_num_threads(threads or 1)
    return tracker


def _refined(first: SingleObjectTracker, name: str, *how: Any) -> SingleObjectTracker:
    from deep_tracking_ros.single_object.refined import RefinedTracker
    from deep_tracking_ros.single_object.siammask import SiamMaskTracker

    second = make_tracker(name, *how)
    if not isinstance(second, SiamMaskTracker):
        raise ModelError(
            f"model {name!r} has the architecture {second.card.architecture!r}; what comes after a + must be a siammask"
        )
    return RefinedTracker(first, second)
