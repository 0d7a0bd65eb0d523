"""Weights of a model into a torch module."""

from __future__ import annotations

import torch

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.models.store import Model


def load_weights(module: torch.nn.Module, model: Model) -> None:
    """Fill a module with a model's weights. Raises `ModelError` naming the first keys that do not fit."""
    load_part(module, model, "")


def load_part(module: torch.nn.Module, model: Model, prefix: str) -> None:
    """The same with those of a model's weights whose names begin with ``prefix``; the others are left aside."""
    state = {key: value for key, value in model.state().items() if key.startswith(prefix)}
    wanted = module.state_dict()
    faults = [f"{key} is missing" for key in sorted(set(wanted) - set(state))]
    faults += [f"{key} is not part of it" for key in sorted(set(state) - set(wanted))]
    faults += [
        f"{key} is {list(state[key].shape)} and should be {list(wanted[key].shape)}"
        for key in sorted(set(wanted) & set(state))
        if tuple(state[key].shape) != tuple(wanted[key].shape)
    ]
    faults += [
        f"{key} holds values that are not finite"
        for key in sorted(set(wanted) & set(state))
        if not torch.isfinite(torch.as_tensor(state[key])).all()
    ]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            f"the weights of model {model.card.name!r} do not fit the architecture {model.card.architecture!r}: "
            + ", ".join(faults[:3])
            + more
        )
    module.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()})
