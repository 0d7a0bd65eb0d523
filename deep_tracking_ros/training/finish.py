"""From trained weights to a model folder: run-time settings, calibration, thresholds, card and golden sample."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.golden import golden_arrays
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.training.calibrating import calibrated
from deep_tracking_ros.training.clips import ClipSet
from deep_tracking_ros.training.validation import Passes, passes

UNCALIBRATED = {"raw": [-20.0, 20.0], "probability": [0.0, 1.0]}
"""A score that only orders, of a model for which no clips were held out."""

Log = Callable[[str], None]


def save_network(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as float16 safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().half().contiguous() for name, value in weights.items()}, path)
    path.chmod(0o644)  # safetensors writes for the owner alone


def write_card(card: ModelCard, folder: Path) -> Model:
    """Write ``card.yaml`` and return the model of the folder."""
    card.save(folder / "card.yaml")
    return Model(folder, ModelCard.load(folder / "card.yaml"))


def finish(
    card: ModelCard,
    weights: Mapping[str, Tensor],
    folder: Path,
    clips: ClipSet,
    grid: Mapping[str, tuple[float, ...]],
    log: Log,
) -> Model:
    """Write a complete model folder.

    Args:
        card: name, architecture, parameters, origin and training; the rest is filled in here.
        weights: of the network.
        folder: where the model goes; files of an earlier model there are replaced.
        clips: held out of the training; settings are chosen and the score is calibrated on them. Without clips, or
            with too short ones, settings stay at their defaults or the score is not calibrated, which the card says.
        grid: values to choose from for each key of the card's ``tracking``; the first one is the default.
        log: told what was found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_network(weights, folder / "model.safetensors")
    (folder / "golden.npz").unlink(missing_ok=True)  # an earlier model's: trackers are tried on it
    tracking = {key: values[0] for key, values in grid.items()}
    results: dict[str, Any] = {"validation": "none: no clips were held out, the score is not calibrated"}
    model = write_card(
        dataclasses.replace(
            card, tracking=tracking, calibration=UNCALIBRATED, thresholds={"tracked": 0.5, "lost": 0.2}, results=results
        ),
        folder,
    )
    if clips.clips:
        tracking, result = choose(model, clips, tracking, grid, log)
        by_clip = {name: round(value, 3) for name, value in result.by_clip().items()}
        results = {"validation": {"auc": round(result.auc(), 4), "auc_by_clip": by_clip}}
        model = write_card(dataclasses.replace(model.card, tracking=tracking, results=results), folder)
        log(f"AUC {result.auc():.3f} on {len(clips.clips)} held-out clips")
        try:
            model = write_card(calibrated(model, clips), folder)
            log(f"calibration error {model.card.results['calibration']['calibration_error']:.3f}")
        except DataError as error:  # the training must not be lost for that
            results["calibration"] = f"none: {error}"
            model = write_card(dataclasses.replace(model.card, results=results), folder)
            log(f"the score is not calibrated: {error}")
    np.savez_compressed(folder / "golden.npz", **golden_arrays(model))  # type: ignore[arg-type]
    return model


def choose(
    model: Model, clips: ClipSet, tracking: Mapping[str, float], grid: Mapping[str, tuple[float, ...]], log: Log
) -> tuple[dict[str, float], Passes]:
    """The best run-time settings on held-out clips, one key after the other, and what they gave."""
    best: tuple[dict[str, float], Passes] | None = None
    for key, value in itertools.chain([("", 0.0)], ((k, v) for k, values in grid.items() for v in values[1:])):
        trial = {**(best[0] if best else tracking), **({key: value} if key else {})}
        tried = Model(model.folder, dataclasses.replace(model.card, tracking=trial))
        result = passes(make_tracker(tried, threads=1), clips, absent=False)
        log(f"  {' '.join(f'{k}={v:g}' for k, v in trial.items())}: AUC {result.auc():.4f}")
        if best is None or result.auc() > best[1].auc() + 0.001:  # not for noise
            best = trial, result
    assert best is not None
    return best
