"""Public siamese box trackers that `importing` knows, as data: how their files look, how they want to be used.

Curves, thresholds and the figures beside them were measured by

    deep-tracking models calibrate MODEL --video video --clips CarScale,Diving,Dudek,MotorRolling,breakdance,\
    car-roundabout,drift-chicane,drift-straight,goat,kite-surf,paragliding-launch,parkour,soapbox,truck4_1,truck4_2

on 15 clips with boxes drawn by hand (704 frames of at most 320 px, every first to fifth of the source), followed in 74
passes. So was ``size_rate`` of NanoTrack, the one setting in which the trackers here differ from their source: it has
0.385 (V2) and 0.348 (V3), with which the AUC of these passes is 0.614 and 0.642 in place of 0.667 and 0.687; 0.5 to 0.9
were tried. Sizes change more from one image to the next where a camera or a computer is slow. With the source's rate,
RGB in place of BGR and windows of whole pixels, as the source cuts them, lose 0.012 and 0.008 (V2); at the rates below
other weights of window and penalty change the AUC by less than 0.007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def _measured(auc: float, error: float, false_alarms: float, missed: float) -> dict[str, Any]:
    """Results of the command above: the calibration error is that of clips that the curve was not fitted to."""
    return {
        "calibration": {
            "clips": "15 clips with boxes drawn by hand", "frames": 2847, "frames_without_target": 444, "auc": auc,
            "calibration_error": error, "false_alarm_rate": false_alarms, "missed_rate": missed,
        }
    }  # fmt: skip


_NANOTRACK: dict[str, Any] = {
    "image": "input", "features": "output", "template": "input1", "search": "input2", "scores": "output1",
    "distances": "output2", "classes": 2, "rgb": False, "licence": "Apache-2.0",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One public tracker."""

    image: str  # input of the backbone, float (B, 3, H, W) of 0 to 255
    features: str  # its output
    template: str  # inputs of the head: features of the template
    search: str  # and of the search crop
    scores: str  # its outputs: logits
    distances: str  # and px from the cell to the left, top, right and bottom side
    classes: int  # of the scores. 2: background and target, 1: target
    rgb: bool  # colour order that the backbone was trained on
    description: str
    licence: str
    origin: str
    parameters: dict[str, Any]  # see `siamese_box.SiameseBoxParameters`
    tracking: dict[str, float]  # the source's own, but for the above; see `parts.box_selection.SelectionSettings`
    calibration: dict[str, list[float]]  # logit of the chosen cell to probability, see `parts.calibration`
    thresholds: dict[str, float]
    results: dict[str, Any]


KINDS: dict[str, Kind] = {
    "nanotrack_v2": Kind(
        **_NANOTRACK,
        description="NanoTrack V2: MobileNetV3 backbone, pixel-wise correlation",
        origin="github.com/HonglinChu/SiamTrackers, NanoTrack/models/nanotrackv2",
        parameters={
            "template_size": 127, "search_size": 255, "feature": [48, 8, 8], "cells": 16, "stride": 16.0,
            "origin": -1.0, "context": 0.5, "search_scale": 255 / 127,
        },
        tracking={"window_influence": 0.490, "penalty": 0.150, "size_rate": 0.75},
        calibration={
            "raw": [-2.494, 0.814, 2.381, 3.751, 4.966, 5.93, 6.879, 7.841, 8.713, 9.805, 11.077, 12.941],
            "probability": [0.044, 0.165, 0.27, 0.519, 0.641, 0.733, 0.834, 0.897, 0.914, 0.985, 0.998, 0.998],
        },
        thresholds={"tracked": 0.766, "lost": 0.2},
        results=_measured(0.6673, 0.0204, 0.0991, 0.0205),
    ),
    "nanotrack_v3": Kind(
        **_NANOTRACK,
        description="NanoTrack V3: MobileNetV3 backbone, pixel-wise and depthwise correlation",
        origin="github.com/HonglinChu/SiamTrackers, NanoTrack/models/nanotrackv3",
        parameters={
            "template_size": 127, "search_size": 255, "feature": [96, 8, 8], "cells": 15, "stride": 16.0,
            "origin": 15.0, "context": 0.5, "search_scale": 255 / 127,
        },
        tracking={"window_influence": 0.455, "penalty": 0.138, "size_rate": 0.6},
        calibration={
            "raw": [-5.181, 0.426, 2.339, 3.869, 5.327, 6.724, 8.091, 9.401, 10.702, 12.059, 13.291, 14.994],
            "probability": [0.048, 0.148, 0.32, 0.502, 0.624, 0.758, 0.901, 0.952, 0.99, 0.994, 0.996, 0.996],
        },
        thresholds={"tracked": 0.703, "lost": 0.2},
        results=_measured(0.6866, 0.0177, 0.0973, 0.0189),
    ),
    "fear_xs": Kind(
        image="image",
        features="features",
        template="template_features",
        search="search_features",
        scores="cls",
        distances="bbox",
        classes=1,
        rgb=True,
        description="FEAR-XS: FBNet backbone, pixel-wise correlation, crops stretched to a square",
        licence="MIT",
        origin="github.com/PinataFarms/FEARTracker, converted from its CoreML models to ONNX with weights in fp16",
        parameters={
            "template_size": 128, "search_size": 256, "feature": [256, 8, 8], "cells": 16, "stride": 16.0,
            "origin": -0.5, "context": 0.4, "search_scale": 5 / 1.4, "stretched": True,
        },
        tracking={"window_influence": 0.380, "penalty": 0.062, "size_rate": 0.765},
        calibration={
            "raw": [-3.566, 0.608, 3.238, 4.489, 5.295, 5.937, 6.576, 7.269, 7.913, 8.628, 9.564, 11.309],
            "probability": [0.002, 0.203, 0.671, 0.771, 0.834, 0.901, 0.956, 0.985, 0.994, 0.994, 0.996, 0.996],
        },
        thresholds={"tracked": 0.824, "lost": 0.2},
        results=_measured(0.7663, 0.0282, 0.0987, 0.0032),
    ),
}  # fmt: skip
