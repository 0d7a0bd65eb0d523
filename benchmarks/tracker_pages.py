"""Writes what code and model cards say into the pages of docs/trackers, between their marks.

    .venv/bin/python -m benchmarks.tracker_pages

Settings and network parameters come from the declarations of each architecture, values and the training from the
``card.yaml`` of its models. `test/docs/test_tracker_pages.py` fails where a page says anything else.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import markdown
from deep_tracking_ros.models.store import Model, list_models
from deep_tracking_ros.parameters import REQUIRED, Parameter, declared
from deep_tracking_ros.single_object.registry import ARCHITECTURES, TASK

PAGES = Path(__file__).resolve().parent.parent / "docs" / "trackers"
BASE = ("parts.siamese_tracker.OneSideParameters", "parts.siamese_tracker.SiameseParameters")
DECLARED: Mapping[str, tuple[str, str]] = {
    "atom": ("atom.AtomSettings", BASE[1]),
    "goturn": ("goturn.GoturnSettings", "goturn.GoturnParameters"),
    "mdnet": ("mdnet.MDNetTracking", BASE[0]),
    "rpt": ("rpt.RPTSettings", "rpt.RPTParameters"),
    "siamese_box": ("parts.box_selection.SelectionSettings", ""),
    "siamfc": ("siamfc.SiamFCTracking", "siamfc.SiamFCParameters"),
    "siammask": ("siammask.SiamMaskSettings", BASE[1]),
    "siamrpn": ("siamrpn.SiamRPNSettings", BASE[1]),
    "transt": ("parts.box_selection.SelectionSettings", "transt.TransTParameters"),
}
"""Of each architecture: what declares ``tracking`` and ``parameters`` of its cards, within ``single_object``."""


def of(name: str) -> Any:
    """The dataclass of a name in `DECLARED`."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"deep_tracking_ros.single_object.{module}"), kind)


def blocks(architecture: str) -> dict[str, str]:
    """What stands on the page of an architecture, by mark."""
    models = [model for model in list_models(TASK) if model.card.architecture == architecture]
    settings, parameters = DECLARED[architecture]
    made = {"settings": table(of(settings), models, "tracking")}
    if parameters:
        made["parameters"] = table(of(parameters), models, "parameters")
    if trained := [model for model in models if model.card.training]:
        made["training"] = "\n\n".join(training(model) for model in trained)
    return made


def table(kind: Any, models: Sequence[Model], key: str) -> str:
    """Name, default, value in each model and meaning of all that a dataclass declares."""
    header = ("setting", "default", *(f"in {model.card.name}" for model in models), "meaning")
    rows = []
    for one in declared(kind):
        values = (shown(getattr(model.card, key).get(one.name, one.default), one) for model in models)
        rows.append((f"`{one.name}`", shown(one.default, one), *values, one.description))
    return markdown(header, rows)


def shown(value: Any, parameter: Parameter) -> str:
    """A value with its unit; "required" in the place of a default that does not exist."""
    if value is REQUIRED:
        return "required"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{text} {parameter.unit}".rstrip()


def training(model: Model) -> str:
    """How a model was trained, and what came out on the clips that were held out."""
    card, facts, results = model.card, model.card.training, model.card.results
    # an option stays with its value
    whole = re.sub(r"(--\S+) (?!--)", "\\1\0", facts["command"])
    command = [line.replace("\0", " ") for line in textwrap.wrap(whole, 110, break_on_hyphens=False)]
    made = f"{facts['samples']:,} pairs in {facts['steps']:,} steps, {facts['seconds']:,} s on {facts['device']}, seed "
    made += f"{facts['seed']}; backbone: {facts.get('backbone', 'tuned in this run')}. "
    made += f"{facts['note'][:1].upper()}{facts['note'][1:]}."
    clips, trust = results["validation"]["auc_by_clip"], results["calibration"]
    row = ("AUC", *(f"{value:.3f}" for value in clips.values()), f"{results['validation']['auc']:.3f}")
    trusted = "Settings were chosen and the score was calibrated on these clips. "
    trusted += f"Calibration error of clips left out of the fit: {trust['calibration_error']:.3f}. "
    trusted += f"A target is TRACKED from {card.thresholds['tracked']:g} and LOST below {card.thresholds['lost']:g}: "
    trusted += f"{trust['false_alarm_rate']:.1%} of the bad frames (IoU of 0.5 and less, or no target) count as "
    trusted += f"tracked, {trust['missed_rate']:.1%} of the good ones as lost."
    return "\n\n".join(
        (
            "    " + " \\\n        ".join(command),
            textwrap.fill(made, 120, break_on_hyphens=False),
            markdown(("held-out clip", *clips, "mean"), [row]),
            textwrap.fill(trusted, 120),
        )
    )


def written(text: str, parts: Mapping[str, str]) -> str:
    """A page with its parts between their marks. Raises `ValueError` where a mark is missing or there twice."""
    for name, body in parts.items():
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text, count = mark.subn(lambda found, body=body: found[1] + body + found[2], text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"a page has {count} places marked <!-- {name} -->, it should have one")
    return text


def main() -> None:
    for architecture in ARCHITECTURES:
        page = PAGES / f"{architecture}.md"
        page.write_text(written(page.read_text(), blocks(architecture)))
        print(page.name)


if __name__ == "__main__":
    main()
