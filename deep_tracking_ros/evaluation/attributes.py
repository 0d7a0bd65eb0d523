"""What is hard about a sequence, in one vocabulary.

Data sets name the same difficulties in words and codes of their own: OTB (Wu et al., PAMI 2015), VOT, UAV123 (Mueller
et al., ECCV 2016), LaSOT (Fan et al., CVPR 2019), TLP (Moudgil and Gandhi, ACCV 2018). `canonical` translates them.

Some can be measured on the true boxes, as TrackingNet (Mueller et al., ECCV 2018) does. For these the data set's word
is not asked: a sequence that was scaled or thinned has not the difficulties of the one that was annotated, and a fast
motion is 20 px in OTB and the size of the target in LaSOT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray

MEASURED = {
    "scale change": "the area is below half or above twice that of the first box in some frame",
    "aspect change": "width over height is below half or above twice that of the first box in some frame",
    "fast motion": "the centre moves by more than half of the square root of the area from one frame to the next",
    "low resolution": "the area is below 1000 px in some frame",
    "out of view": "there is no box in some frame",
}
"""Attributes that are measured on the true boxes, and when a sequence has them."""

ANNOTATED = (
    "occlusion",
    "distractors",
    "deformation",
    "rotation",
    "viewpoint change",
    "background clutter",
    "illumination change",
    "motion blur",
    "camera motion",
)
"""Attributes that only a data set can state."""

MAIN = ("scale change", "occlusion", "distractors", "fast motion", "deformation")
ATTRIBUTES: tuple[str, ...] = (*MAIN, *(name for name in (*MEASURED, *ANNOTATED) if name not in MAIN))
"""The whole vocabulary, in the order of tables."""

CODES = {
    "SV": "scale change",
    "ARC": "aspect change",
    "FM": "fast motion",
    "LR": "low resolution",
    "OV": "out of view",
    "OCC": "occlusion",
    "POC": "occlusion",
    "FOC": "occlusion",
    "SOB": "distractors",
    "DEF": "deformation",
    "ROT": "rotation",
    "IPR": "rotation",
    "OPR": "rotation",
    "VC": "viewpoint change",
    "BC": "background clutter",
    "IV": "illumination change",
    "MB": "motion blur",
    "CM": "camera motion",
}
"""Codes of OTB, UAV123, LaSOT and TLP."""

PHRASES = {
    r"(scale|size)[ _](change|variation)": "scale change",
    r"aspect[ _](ratio[ _])?change": "aspect change",
    r"fast[ _]motion": "fast motion",
    r"low[ _]resolution|small[ _]target": "low resolution",
    r"out[ _-]of[ _-]view": "out of view",
    r"occlu(sion|ded)": "occlusion",
    r"distractor|similar[ _]object|look-?alike": "distractors",
    r"deformation": "deformation",
    r"rotation": "rotation",
    r"viewpoint[ _]change": "viewpoint change",
    r"background[ _]clutter": "background clutter",
    r"illum(ination)?[ _](change|variation)": "illumination change",
    r"motion[ _]blur": "motion blur",
    r"camera[ _]motion": "camera motion",
}
"""Words of the data sets (those of VOT's tag files with underscores) as regular expressions."""


def canonical(tags: Iterable[str]) -> tuple[str, ...]:
    """A data set's own words or codes in the vocabulary of `ATTRIBUTES`; what stands for none of it is left out."""
    found = set()
    for tag in tags:
        # 'OV = out of view' explains its code
        found |= {CODES[word] for word in (tag.strip(), tag.partition("=")[0].strip()) if word in CODES}
        found |= {name for phrase, name in PHRASES.items() if re.search(rf"\b(?:{phrase})", tag, re.IGNORECASE)}
    return tuple(name for name in ATTRIBUTES if name in found)


def measured(boxes: FloatArray) -> tuple[str, ...]:
    """Attributes of `MEASURED` that true boxes have.

    Args:
        boxes: (T, 4) xyxy px; rows of nan where the target is not in view.
    """
    seen = np.asarray(np.isfinite(boxes).all(1))
    states = xyxy_to_cxcywh(boxes)
    areas, aspects = states[:, 2] * states[:, 3], states[:, 2] / states[:, 3]
    first = int(np.flatnonzero(seen)[0])
    steps = np.linalg.norm(np.diff(states[:, :2], axis=0), axis=1) / np.sqrt(areas[:-1])
    holds = {
        "scale change": _changes(areas[seen] / areas[first]),
        "aspect change": _changes(aspects[seen] / aspects[first]),
        "fast motion": bool((steps > 0.5).any()),  # comparisons with nan are false
        "low resolution": bool((areas < 1000).any()),
        "out of view": not seen[first:].all(),
    }
    return tuple(name for name in ATTRIBUTES if holds.get(name))


def attributes(sequence: Sequence) -> tuple[str, ...]:
    """All attributes of a sequence: those measured on its boxes, and of the others those that its data set states."""
    boxes = sequence.boxes
    if sequence.masks is not None:  # frames without an annotation tell nothing
        boxes = boxes[[mask is not None for mask in sequence.masks]]
    found = {*measured(boxes), *(name for name in canonical(sequence.attributes) if name in ANNOTATED)}
    return tuple(name for name in ATTRIBUTES if name in found)


def _changes(ratios: FloatArray) -> bool:
    return bool((ratios < 0.5).any() or (ratios > 2).any())
