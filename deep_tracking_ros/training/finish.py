"""From trained weights to a model folder: run-time settings, calibration, thresholds, card and golden sample."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.golden import golden_arrays
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.training.clips import ClipSet
from deep_tracking_ros.training.validation import Passes, calibrate, passes

# Before calibration the score is the plain sigmoid of the network's confidence.
_LOGITS = np.linspace(-24, 24, 193)
SIGMOID = {"raw": _LOGITS.tolist(), "probability": (1 / (1 + np.exp(-_LOGITS))).tolist()}

Log = Callable[[str], None]


def save_network(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as float16 safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().half().contiguous() for name, value in weights.items()}, path)
    path.chmod(0o644)  # safetensors writes for the owner alone


def write_card(card: ModelCard, folder: Path) -> Model:
    """Write ``card.yaml`` and return the model of the folder."""
    values = {key: value for key, value in dataclasses.asdict(card).items() if value not in ({}, "")}
    text = yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    (folder / "card.yaml").write_text(text)
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
        clips: held out of the training; settings are chosen and the score is calibrated on them. Without clips the
            settings stay at their defaults and the score is not calibrated, which the card says.
        grid: values to choose from for each key of the card's ``tracking``; the first one is the default.
        log: told what was found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_network(weights, folder / "model.safetensors")
    tracking = {key: values[0] for key, values in grid.items()}
    thresholds = {"tracked": 0.5, "lost": 0.2}
    results: dict[str, Any] = {"validation": "none: no clips were held out, the score is not calibrated"}
    card = dataclasses.replace(card, tracking=tracking, calibration=SIGMOID, thresholds=thresholds, results=results)
    model = write_card(card, folder)
    if clips.clips:
        tracking, auc = choose(model, clips, tracking, grid, log)
        model = write_card(dataclasses.replace(card, tracking=tracking), folder)
        result = passes(make_tracker(model, threads=1), clips)
        trust = calibrate(_raw(result), result)
        log(f"AUC {auc:.3f} on {len(clips.clips)} held-out clips; calibration error {trust.error:.3f}")
        results = {
            "validation": {
                "clips": sorted({clip.name for clip in clips.clips}),
                "auc": round(result.auc(), 4),
                "auc_by_clip": {name: round(value, 3) for name, value in result.by_clip().items()},
                "frames": len(result.score),
                "frames_without_target": int((~result.present).sum()),
                "calibration_error": round(trust.error, 4),
                "false_alarm_rate": round(trust.false_alarms, 4),
                "missed_rate": round(trust.missed, 4),
            }
        }
        curve = {"raw": _rounded(trust.curve.raw), "probability": _rounded(trust.curve.probability)}
        thresholds = {"tracked": round(trust.tracked, 3), "lost": round(trust.lost, 3)}
        card = dataclasses.replace(
            card, tracking=tracking, calibration=curve, thresholds=thresholds, results=results
        )  # fmt: skip
        model = write_card(card, folder)
    np.savez_compressed(folder / "golden.npz", **golden_arrays(model))  # type: ignore[arg-type]
    return model


def choose(
    model: Model, clips: ClipSet, tracking: Mapping[str, float], grid: Mapping[str, tuple[float, ...]], log: Log
) -> tuple[dict[str, float], float]:
    """The best run-time settings on held-out clips, one key after the other, and their AUC."""
    best, best_auc = dict(tracking), -1.0
    for key, value in itertools.chain([("", 0.0)], ((k, v) for k, values in grid.items() for v in values[1:])):
        trial = {**best, key: value} if key else dict(best)
        tried = Model(model.folder, dataclasses.replace(model.card, tracking=trial))
        auc = passes(make_tracker(tried, threads=1), clips, absent=False).auc()
        log(f"  {' '.join(f'{k}={v:g}' for k, v in trial.items())}: AUC {auc:.4f}")
        if auc > best_auc + 0.001:  # not for noise
            best, best_auc = trial, auc
    return best, best_auc


def _raw(result: Passes) -> Any:
    """Confidence before calibration, out of scores made by `SIGMOID`."""
    return np.interp(result.score, SIGMOID["probability"], SIGMOID["raw"]).astype(np.float32)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
