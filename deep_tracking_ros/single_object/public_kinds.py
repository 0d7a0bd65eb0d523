"""Public siamese box trackers that `importing` knows, as data: how their files look, how they want to be used.

Curves, thresholds and the figures beside them were measured by

    deep-tracking models calibrate MODEL --video video --clips CarScale,Diving,Dudek,MotorRolling,breakdance,\
    car-roundabout,drift-chicane,drift-straight,goat,kite-surf,paragliding-launch,parkour,soapbox,truck4_1,truck4_2

on 15 clips with boxes drawn by hand (704 frames of at most 320 px, every first to fifth of the source).

NanoTrack V2 has the three constants of `cv2.TrackerNano`, which runs the same weights: window 0.455, penalty 0.055,
rate 0.37. Its source's own file has 0.490, 0.150 and 0.385. On the clips above the AUC of both is 0.616 and 0.613 with
all images, 0.558 and 0.548 with every second, 0.490 and 0.485 with every fourth: little more than noise, but all one
way. A higher ``size_rate`` is better there (0.75: 0.658, 0.606, 0.516, in place of 0.604, 0.556, 0.487), where sizes
change much from one image to the next; on 32 other clips, whose boxes were made at the source's rate, 0.385, 0.5 and
0.75 are equal. It is for slow cameras, in the card.

NanoTrack V3 has its source's window and penalty; its ``size_rate`` of 0.6 was chosen on the clips (AUC 0.674; with the
source's 0.348 it is 0.644). RGB in place of BGR loses 0.012 (V2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def _measured(
    auc: float, error: float, false_alarms: float, missed: float, frames: int = 2847, absent: int = 444
) -> dict[str, Any]:
    """Results of the command above: the calibration error is that of clips that the curve was not fitted to."""
    return {
        "calibration": {
            "clips": "15 clips with boxes drawn by hand", "frames": frames, "frames_without_target": absent, "auc": auc,
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
    tracking: dict[str, float]  # published ones, but for the above; see `parts.box_selection.SelectionSettings`
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
        tracking={"window_influence": 0.455, "penalty": 0.055, "size_rate": 0.37},
        calibration={
            "raw": [-2.747, -0.017, 1.485, 2.548, 3.604, 4.695, 5.847, 6.939, 8.014, 9.209, 10.705, 12.666],
            "probability": [0.002, 0.039, 0.1, 0.187, 0.259, 0.463, 0.584, 0.742, 0.844, 0.933, 0.986, 0.995],
        },
        thresholds={"tracked": 0.63, "lost": 0.2},
        results=_measured(0.5924, 0.0164, 0.0994, 0.0400, frames=3867, absent=888),
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
            "raw": [-5.149, 0.413, 2.21, 3.669, 5.267, 6.717, 8.055, 9.375, 10.688, 12.066, 13.287, 14.984],
            "probability": [0.044, 0.144, 0.303, 0.46, 0.599, 0.763, 0.868, 0.922, 0.973, 0.997, 0.997, 0.997],
        },
        thresholds={"tracked": 0.718, "lost": 0.2},
        results=_measured(0.6740, 0.0136, 0.0997, 0.0183),
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
            "raw": [-3.554, 1.101, 3.442, 4.613, 5.392, 6.016, 6.648, 7.305, 7.9, 8.639, 9.591, 11.293],
            "probability": [0.023, 0.278, 0.722, 0.83, 0.859, 0.905, 0.969, 0.99, 0.994, 0.994, 0.994, 0.998],
        },
        thresholds={"tracked": 0.854, "lost": 0.2},
        results=_measured(0.7775, 0.0336, 0.0986, 0.0022),
    ),
}  # fmt: skip
