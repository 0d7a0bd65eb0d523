from pathlib import Path

import numpy as np
import pytest

from deep_tracking_ros.evaluation.attributes import ATTRIBUTES, CODES, PHRASES, attributes, canonical, measured
from deep_tracking_ros.evaluation.datasets import Sequence, find_sequences

NAN = [np.nan] * 4


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("SV", "OCC", "FM", "IPR", "OV = scale change", "in-plane rotation"),
         ("scale change", "occlusion", "fast motion", "out of view", "rotation")),  # OTB
        (("camera_motion", "illum_change", "size_change", "occlusion"),
         ("scale change", "occlusion", "illumination change", "camera motion")),  # VOT
        (("ARC", "POC", "SOB", "VC"), ("occlusion", "distractors", "aspect change", "viewpoint change")),  # UAV123
        (("Scale Variation", "partial occlusion by the bike", "one distractor"),
         ("scale change", "occlusion", "distractors")),
        (("grey images", "so loose"), ()),
    ],
)  # fmt: skip
def test_words_and_codes_of_data_sets_become_one_vocabulary(tags, expected):
    assert canonical(tags) == expected


def test_every_code_and_phrase_leads_into_the_vocabulary():
    assert set(CODES.values()) <= set(ATTRIBUTES)
    assert set(PHRASES.values()) == set(ATTRIBUTES)
    assert all(canonical([name]) == (name,) for name in ATTRIBUTES)


def box(x=100.0, width=40.0, height=40.0):
    return [x, 50, x + width, 50 + height]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([box(), box(width=40, height=79)], ()),  # just below twice the area and half the aspect
        ([box(), box(width=57, height=57)], ("scale change",)),
        ([box(width=60, height=60), box(width=42, height=42)], ("scale change",)),
        ([box(width=60, height=40), box(width=40, height=60)], ("aspect change",)),
        ([box(100), box(121)], ("fast motion",)),
        ([box(100), box(119)], ()),
        ([box(100), NAN, box(200)], ("out of view",)),  # steps over a gap are not counted
        ([NAN, box(), box()], ()),  # the target comes later
        ([box(width=30, height=33), box(width=30, height=33)], ("low resolution",)),
    ],
)
def test_attributes_measured_on_boxes(boxes, expected):
    assert measured(np.array(boxes, np.float32)) == expected


def test_what_is_measured_overrules_the_word_and_frames_without_annotation_tell_nothing():
    boxes = np.array([box(), NAN, box()], np.float32)
    sequence = Sequence("toy", (Path("0"),) * 3, boxes, attributes=("fast motion", "distractors: many"))
    assert attributes(sequence) == ("distractors", "out of view")
    masks = (Path("0"), None, Path("2"))
    assert attributes(Sequence("toy", (Path("0"),) * 3, boxes, masks, 1)) == ()
    masks = (Path("0"), Path("1"), Path("2"))  # annotated, and empty
    assert attributes(Sequence("toy", (Path("0"),) * 3, boxes, masks, 1)) == ("out of view",)


def test_attributes_of_reference_sequences(reference):
    found = {s.name: attributes(s) for s in find_sequences(reference("data/sot"))}
    assert [name for name, having in found.items() if "distractors" in having] == [
        "Basketball", "Basketball-oov", "Jogging-1", "Mohiniyattam",
    ]  # fmt: skip
    assert [name for name, having in found.items() if "out of view" in having] == ["Basketball-oov"]
    # said to be fast in its data set, but here thinned, a fifth of its size a frame at most
    assert "fast motion" not in found["CarChase2"]
    assert {"fast motion", "motion blur", "rotation", "scale change"} <= set(found["DragonBaby"])
