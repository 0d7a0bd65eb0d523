"""Public siamese box trackers that `importing` knows, as data: how their files look, how they want to be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
    tracking: dict[str, float]  # constants of the source's own tracker, see `box_selection.SelectionSettings`
    calibration: dict[str, list[float]] = field(
        default_factory=lambda: {"raw": [-12.0, 12.0], "probability": [0.0, 1.0]}
    )
    thresholds: dict[str, float] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "nanotrack_v2": Kind(
        **_NANOTRACK,
        description="NanoTrack V2: MobileNetV3 backbone, pixel-wise correlation",
        origin="github.com/HonglinChu/SiamTrackers, NanoTrack/models/nanotrackv2",
        parameters={
            "template_size": 127, "search_size": 255, "feature": [48, 8, 8], "cells": 16, "stride": 16.0,
            "origin": -1.0, "context": 0.5, "search_scale": 255 / 127,
        },
        tracking={"window_influence": 0.490, "penalty": 0.150, "size_rate": 0.385},
    ),
    "nanotrack_v3": Kind(
        **_NANOTRACK,
        description="NanoTrack V3: MobileNetV3 backbone, pixel-wise and depthwise correlation",
        origin="github.com/HonglinChu/SiamTrackers, NanoTrack/models/nanotrackv3",
        parameters={
            "template_size": 127, "search_size": 255, "feature": [96, 8, 8], "cells": 15, "stride": 16.0,
            "origin": 15.0, "context": 0.5, "search_scale": 255 / 127,
        },
        tracking={"window_influence": 0.455, "penalty": 0.138, "size_rate": 0.348},
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
    ),
}  # fmt: skip
