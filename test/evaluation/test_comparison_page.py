"""The page that compares trackers is written from results, and says what the code does."""

import json

import pytest

from benchmarks import single_object
from deep_tracking_ros.evaluation.attributes import MEASURED

MACHINE = {"processor": "a processor", "cores": 2, "load": 0.5, "versions": {"opencv-contrib-python": "5.0"}}


def result(model, auc, error):
    measures = {"auc": auc, "precision_20": 0.9, "ao": 0.5, "calibration_error": error, "fps": 80.4}
    each = {"occlusion": {"auc": auc / 2, "precision_20": 0.5, "sequences": ["a", "b"]}}
    return {"model": model, **measures, "start_seconds": 0.0123, "by_attribute": each}


@pytest.fixture
def results(tmp_path, monkeypatch):
    values = {
        **result("siamfc", 0.6, 0.07), "compared": [result("opencv-kcf", 0.25, None)], "frames": 100, "threads": 1,
        "per_sequence": {"a": {}, "b": {}}, "machine": MACHINE, "date": "2026-11-25T10:00:00+00:00",
    }  # fmt: skip
    (tmp_path / "sot_sot.json").write_text(json.dumps(values))
    page = tmp_path / "page.md"
    page.write_text(single_object.PAGE.read_text())
    monkeypatch.setattr(single_object, "RESULTS", tmp_path)
    monkeypatch.setattr(single_object, "PAGE", page)
    return page


def test_tables_are_written_between_their_marks(results):
    before = results.read_text()
    single_object.page(None)
    text = results.read_text()
    assert "| siamfc | 0.600 | 0.900 | 0.500 | 0.070 | 80 | 12 |" in text
    assert "| opencv-kcf | 0.250 | 0.900 | 0.500 | - | 80 | 12 |" in text
    assert "2 sequences, 100 frames with a target. a processor, 1 thread of 2 cores, load 0.5, OpenCV 5.0" in text
    assert "| model | occlusion (2) |" in text
    assert "| siamfc | 0.300 |" in text
    assert text.count("<!--") == before.count("<!--")  # so it can be written again
    single_object.page(None)
    assert results.read_text() == text


def test_a_page_without_a_mark_is_refused(results):
    results.write_text(results.read_text().replace("<!-- sot_sot -->", ""))
    with pytest.raises(ValueError, match="has 0 places marked <!-- sot_sot -->"):
        single_object.page(None)


def test_the_page_has_a_mark_for_each_table_and_the_definitions_of_the_code():
    text = single_object.PAGE.read_text()
    for name in single_object.TABLES:
        assert text.count(f"<!-- {name} -->") == 1
    for name, definition in MEASURED.items():
        assert f"| {name} | {definition} |" in text
