"""Fit the score of a model that is there already to clips with known boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.training.clips import ClipSet
from deep_tracking_ros.training.validation import calibrate, passes

WIDEST = 20.0
"""Confidence (a logit) beyond which no two are told apart."""


def calibrated(model: Model, clips: ClipSet, backend: str = "auto", threads: int = 1) -> ModelCard:
    """The card of a model with curve, thresholds and ``results['calibration']`` measured on clips.

    Args:
        model: whose tracker gives `Calibration` a confidence; what its card says of the curve is not used.
        clips: that it was not trained on.
        backend: where its networks run.
        threads: of the networks on a CPU.

    Raises:
        ModelError: the networks do not fit the architecture.
        EngineError: the backend cannot run here.
        DataError: the clips are too few for a curve.
    """
    # a straight line in the place of the curve: scores become confidences again without loss
    line = {"raw": [-WIDEST, WIDEST], "probability": [0.0, 1.0]}
    plain = Model(model.folder, dataclasses.replace(model.card, calibration=line))
    # every frame and every fourth, to and fro: a score is also needed where following is hard, and after the target
    # was lost
    result = passes(make_tracker(plain, backend=backend, threads=threads), clips, strides=(1, 4), laps=2)
    trust = calibrate((2 * result.score - 1) * WIDEST, result)
    measured: Mapping[str, Any] = {
        "clips": sorted({clip.name for clip in clips.clips}),
        "auc": round(result.auc(), 4),
        "frames": len(result.score),
        "frames_without_target": int((~result.present).sum()),
        "calibration_error": round(trust.error, 4),
        "false_alarm_rate": round(trust.false_alarms, 4),
        "missed_rate": round(trust.missed, 4),
    }
    card = dataclasses.replace(
        model.card,
        calibration={
            "raw": [round(float(value), 3) for value in trust.curve.raw],
            "probability": [round(float(value), 4) for value in trust.curve.probability],
        },
        thresholds={"tracked": round(trust.tracked, 3), "lost": round(trust.lost, 3)},
        results={**model.card.results, "calibration": measured},
    )
    Calibration.from_card(card.calibration)  # a card that no tracker can be made from must not replace another
    return card
