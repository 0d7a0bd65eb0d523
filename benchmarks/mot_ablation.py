"""What each piece of the multi-object tracker is worth: all of them, then all but one, on sequences in the layout of
the MOTChallenge, measured by TrackEval as ``deep-tracking eval mot`` does.

    python -m benchmarks.mot_ablation SET [SET ...]

A set is a folder of sequences. Where each has a file gmc.txt (per row the number of an image and the 2x3 motion of the
camera since the image before), the set is also run with it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence as SequenceOf
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.common import RESULTS, markdown, write
from deep_tracking_ros.evaluation.mot import Array, Found, Measures, Sequence, find_sequences, measure
from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker, Settings
from deep_tracking_ros.types import NANOSECONDS, State

ALL = "all of it"
CAMERA = "with the camera's motion"
VARIANTS = {
    ALL: Settings(),
    "without boxes of low score (ByteTrack's second stage)": Settings(low_overlap=1.0),
    "without mending (OC-SORT's re-update)": Settings(mend_steps=0),
    "without direction (OC-SORT's momentum)": Settings(direction=0.0),
    "with OC-SORT's weight of direction, 0.2": Settings(direction=0.2),
    "without TENTATIVE: confirmed with the first box": Settings(confirm_after=1),
    "without memory: forgotten with the first miss": Settings(memory=0.0),
}


def follow(sequence: Sequence, settings: Settings, motions: Array | None = None) -> list[Found]:
    """What is confirmed and seen in each frame; ``motions`` (F, 2, 3) of the camera."""
    tracker, found = MultiObjectTracker(settings), []
    for k, (boxes, scores) in enumerate(sequence.frames):
        stamp = round(k / sequence.rate * NANOSECONDS)
        motion = motions[k] if motions is not None and k else None
        tracks = tracker.step(stamp, Boxes(boxes, scores, np.zeros(len(boxes), np.intp)), motion)
        shown = tracks.states == State.CONFIRMED
        found.append((tracks.ids[shown], tracks.boxes[shown]))
    return found


def ablate(sequences: SequenceOf[Sequence]) -> dict[str, Measures]:
    results = {}
    for name, settings in VARIANTS.items():
        print(f"  {name}", flush=True)
        results[name] = measure(sequences, {s.name: follow(s, settings) for s in sequences})[0]
    files = [sequence.folder / "gmc.txt" for sequence in sequences]
    if all(file.is_file() for file in files):
        print(f"  {CAMERA}", flush=True)
        motions = {s.name: np.loadtxt(f)[:, 1:].reshape(-1, 2, 3) for s, f in zip(sequences, files, strict=True)}
        results[CAMERA] = measure(sequences, {s.name: follow(s, Settings(), motions[s.name]) for s in sequences})[0]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of sequences")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    for folder in arguments.sets:
        print(folder.name, flush=True)
        results = ablate(find_sequences(folder))
        values = {name: vars(measures) for name, measures in results.items()}
        best = results[ALL]
        rows = [
            [
                name,
                f"{100 * m.hota:.2f} ({100 * (m.hota - best.hota):+.2f})",
                *(f"{100 * value:.2f}" for value in (m.deta, m.assa, m.mota, m.idf1)),
                str(m.id_switches),
            ]
            for name, m in results.items()
        ]
        header = [folder.name, "HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches"]
        text = markdown(header, rows)
        title = f"What each piece of the multi-object tracker is worth on {folder.name}"
        write(f"mot_ablation_{folder.name.lower()}", title, {"variants": values}, text, arguments.out)
        print(text)


if __name__ == "__main__":
    main()
