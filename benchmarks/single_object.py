"""Accuracy of single-object trackers beside OpenCV's, and a figure for each claim: docs/trackers/comparison.md.

Every step is a command of ``deep-tracking eval``, run here with the same data and models, one thread. Results go to
``benchmarks/results``, pictures to ``docs/images``, tables into the page between its marks, where they can be written
again from the results alone (``--steps page``).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, markdown
from deep_tracking_ros.cli import eval_claims
from deep_tracking_ros.cli.eval_frames import frames
from deep_tracking_ros.cli.eval_masks import masks
from deep_tracking_ros.cli.eval_sot import sot
from deep_tracking_ros.evaluation.report import SHOWN

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "trackers" / "comparison.md"
SHEET = "DragonBaby,Basketball-oov,Jogging-1,wakeboard7"
FOLDERS = ("sot", "davis", "badja")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds sot/, davis/ and badja/")
    parser.add_argument("--video", type=Path, help="clips for the optimisers: NAME/img and NAME/boxes.txt")
    parser.add_argument("--model", action="append", default=[], help="name or path of a model; repeat it")
    parser.add_argument("--mask-model", action="append", default=[], help="of these masks are measured, too")
    parser.add_argument("--sheet-model", action="append", help="shown in the contact sheet; the first four by default")
    parser.add_argument("--peer-weights", type=Path, help="folder with the ONNX files of OpenCV's trackers")
    parser.add_argument("--runs", type=int, default=60, help="made-up scenes of each kind, and steps an interval")
    parser.add_argument("--steps", default=",".join(STEPS), help="of " + ", ".join(STEPS))
    arguments = parser.parse_args()
    chosen = arguments.steps.split(",")
    if unknown := sorted(set(chosen) - set(STEPS)):
        parser.error(f"there are no steps {unknown}; there are {', '.join(STEPS)}")
    if chosen != ["page"] and not (arguments.data and arguments.model):
        parser.error("give --data and --model")
    for name in chosen:
        print(f"== {name}", flush=True)
        STEPS[name](arguments)


def tables(a: argparse.Namespace) -> None:
    for folder in FOLDERS:
        first = folder == "sot"
        sot(
            a.data / folder, a.model, peers=True, peer_weights=a.peer_weights, json_file=RESULTS / f"sot_{folder}.json",
            plot=IMAGES / "success.png" if first else None, reliability=IMAGES / "reliability.png" if first else None,
        )  # fmt: skip


def mask_tables(a: argparse.Namespace) -> None:
    if a.mask_model:
        masks(a.data / "davis", a.mask_model, every=3, json_file=RESULTS / "masks.json")


def sheet(a: argparse.Namespace) -> None:
    shown = a.sheet_model or a.model[:4]
    frames(a.data / "sot", [*shown, "opencv-csrt"], IMAGES / "trackers.jpg", sequences=SHEET)


def distractors(a: argparse.Namespace) -> None:
    eval_claims.distractors(
        [*a.model, "opencv-csrt"], [a.data / folder for folder in FOLDERS], a.runs, windows=True,
        json_file=RESULTS / "distractors.json", plot=IMAGES / "distractors.png",
    )  # fmt: skip


def motion(a: argparse.Namespace) -> None:
    eval_claims.motion(
        a.model, [a.data / folder for folder in FOLDERS], a.runs,
        json_file=RESULTS / "motion.json", plot=IMAGES / "motion.png",
    )  # fmt: skip


def refinement(a: argparse.Namespace) -> None:
    eval_claims.refinement(
        a.model, [a.data / folder for folder in FOLDERS],
        json_file=RESULTS / "refinement.json", plot=IMAGES / "refinement.png",
    )  # fmt: skip


def optimisers(a: argparse.Namespace) -> None:
    if a.video:
        eval_claims.optimisers(a.video, json_file=RESULTS / "optimisers.json", plot=IMAGES / "optimisers.png")


def page(a: argparse.Namespace) -> None:
    """Write the tables of all results that are there into the page."""
    text = PAGE.read_text()
    for name, make in TABLES.items():
        result = RESULTS / f"{name.partition(':')[0]}.json"
        if not result.is_file():
            continue
        body = make(json.loads(result.read_text()))
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text, count = mark.subn(lambda found, body=body: found[1] + body + found[2], text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE} has {count} places marked <!-- {name} -->, it should have one")
    PAGE.write_text(text)


def cell(value: float | None, places: int = 3) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def comparison(values: dict[str, Any]) -> str:
    results = [values, *values["compared"]]
    header = ("model", "AUC", "precision@20", "AO", "calibration error", "fps", "start, ms")
    rows = [
        (r["model"], *(cell(r[key]) for key in ("auc", "precision_20", "ao", "calibration_error")),
         cell(r["fps"], 0), cell(1000 * r["start_seconds"], 0))
        for r in results
    ]  # fmt: skip
    m = values["machine"]
    about = f"{len(values['per_sequence'])} sequences, {values['frames']} frames with a target. {m['processor']}, "
    about += f"{values['threads']} thread of {m['cores']} cores, load {m['load']}, OpenCV "
    about += f"{next((v for k, v in m['versions'].items() if k.startswith('opencv')), '?')}, {values['date'][:10]}."
    return markdown(header, rows) + f"\n\n{about}"


def attributes(values: dict[str, Any]) -> str:
    results = [values, *values["compared"]]
    names = [name for name in SHOWN if name in values["by_attribute"]]
    names = list(dict.fromkeys(names))
    counts = {name: len(values["by_attribute"][name]["sequences"]) for name in names}
    header = ("model", *(f"{name} ({counts[name]})" for name in names))
    return markdown(header, [(r["model"], *(cell(r["by_attribute"][n]["auc"]) for n in names)) for r in results])


def mask_table(values: dict[str, Any]) -> str:
    header = ("model", "mask", "J", "F", "fps")
    rows = [
        (one["model"], way, cell(m["J"]), cell(m["F"]), cell(m["fps"], 1))
        for one in values["models"]
        for way, m in one["ways"].items()
    ]
    return markdown(header, rows)


def distractor_table(values: dict[str, Any]) -> str:
    header = (
        "model",
        "twin: jumped",
        "twin: lost",
        "re-coloured: jumped",
        "re-coloured: lost",
        "real: left",
        "real: sure",
    )
    rows = []
    for name, twin in values["generated"]["twin"].items():
        other, real = values["generated"]["recoloured"][name], values["real"].get(name, {})
        shares = (twin["jumped"], twin["lost"], other["jumped"], other["lost"], real.get("left"), real.get("sure"))
        rows.append((name, *(cell(share, 2) for share in shares)))
    return markdown(header, rows)


def refinement_table(values: dict[str, Any]) -> str:
    header = ("model", "before", "one look", "two", "three")
    return markdown(header, [(name, *(cell(v) for v in one["after"])) for name, one in values["models"].items()])


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "sot": tables,
    "masks": mask_tables,
    "sheet": sheet,
    "distractors": distractors,
    "motion": motion,
    "refinement": refinement,
    "optimisers": optimisers,
    "page": page,
}
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "sot_sot": comparison,
    "sot_sot:attributes": attributes,
    "sot_davis": comparison,
    "sot_badja": comparison,
    "masks": mask_table,
    "distractors": distractor_table,
    "refinement": refinement_table,
}

if __name__ == "__main__":
    main()
