"""The pages of the single-object trackers say what code, model cards and results say."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import figures, tracker_pages
from benchmarks.common import RESULTS
from deep_tracking_ros.models.store import WEIGHTS, Model, list_models
from deep_tracking_ros.parameters import REQUIRED, declared
from deep_tracking_ros.single_object.registry import ARCHITECTURES, TASK, make_tracker
from deep_tracking_ros.single_object.siamese_box import SiameseBoxParameters

PAGES = tracker_pages.PAGES
INDEX = (PAGES / "README.md").read_text()
MODELS = {model.card.name: model for model in list_models(TASK)}


def page(architecture):
    return (PAGES / f"{architecture}.md").read_text()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_page_has_every_setting_with_its_default_and_meaning(architecture):
    for kind in filter(None, tracker_pages.DECLARED[architecture]):
        for one in declared(tracker_pages.of(kind)):
            default = "required" if one.default is REQUIRED else str(one.default).lower()
            row = rf"^\| `{one.name}` \| {re.escape(default)}( \S+)? \|(.* \|)? {re.escape(one.description)} \|$"
            assert re.search(row, page(architecture), re.M), f"{architecture}.md lacks {one.name}, default {default}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stands_between_the_marks_is_what_code_and_cards_say(architecture):
    text = page(architecture)
    assert tracker_pages.written(text, tracker_pages.blocks(architecture)) == text, (
        f"{architecture}.md is not up to date: python -m benchmarks.tracker_pages"
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_declarations_named_are_those_that_the_tracker_reads(name):
    tracker = make_tracker(name, backend="torch", threads=1)
    settings, parameters = map(tracker_pages.of, tracker_pages.DECLARED[MODELS[name].card.architecture])
    assert type(tracker.settings) is settings
    assert type(tracker.parameters) is parameters


def test_siamese_box_names_the_parameters_of_its_networks():
    for field in dataclasses.fields(SiameseBoxParameters):
        assert f"| `{field.name}` |" in page("siamese_box")


def test_a_card_that_changed_makes_a_page_stale(tmp_path, monkeypatch):
    shutil.copy(WEIGHTS / "rpt" / "card.yaml", tmp_path / "card.yaml")
    card = MODELS["rpt"].card
    trust = {**card.results["calibration"], "calibration_error": 0.4321}
    results = {**card.results, "calibration": trust}
    changed = dataclasses.replace(card, results=results, tracking={**card.tracking, "online": 0.123})
    monkeypatch.setattr(tracker_pages, "list_models", lambda task: [Model(tmp_path, changed)])
    text = tracker_pages.written(page("rpt"), tracker_pages.blocks("rpt"))
    assert text != page("rpt")
    assert "| `online` | 0.0 | 0.123 |" in text
    assert "left out of the fit: 0.432." in text


def test_a_page_without_its_mark_is_refused():
    with pytest.raises(ValueError, match="has 0 places marked <!-- settings -->"):
        tracker_pages.written("# A tracker\n", {"settings": "| |"})


def test_every_figure_is_on_its_page_and_small():
    for architecture in figures.FIGURES:
        assert f"](../images/tracker_{architecture}.png)" in page(architecture)
        assert (figures.IMAGES / f"tracker_{architecture}.png").stat().st_size <= 150_000


def test_the_index_has_a_row_for_every_architecture_and_model():
    for architecture in ARCHITECTURES:
        assert f"]({architecture}.md)" in INDEX
    for name in MODELS:
        assert re.search(rf"^\| \[`{name}`\]", INDEX, re.M), name


def test_the_accuracy_in_the_index_is_that_of_the_comparison():
    results = json.loads((RESULTS / "sot_sot.json").read_text())
    known = {one["model"]: one["auc"] for one in (results, *results["compared"])}
    known |= {name: m.card.results["sot"]["auc"] for name, m in MODELS.items() if "sot" in m.card.results}
    for name in MODELS:
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", INDEX, re.M)
        assert row.split("|")[6].strip() == f"{known[name]:.3f}", name


def test_figures_are_drawn_by_name(tmp_path):
    path = figures.draw("goturn", tmp_path)
    assert path == Path(tmp_path) / "tracker_goturn.png"
    assert 20_000 < path.stat().st_size <= 150_000
