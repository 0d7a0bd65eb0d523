"""How well objects are found, by motion and by a network, and what appearance adds: on sequences with known boxes.

Sequences are folders of one object (``groundtruth_rect.txt`` beside ``img`` or ``JPEGImages``, 1-based x, y, w, h) or
of people as in MOT17 (``gt/gt.txt`` and ``img1``).
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.common import RESULTS, markdown, write
from deep_tracking_ros.detection.motion import MotionProposals
from deep_tracking_ros.geometry.boxes import iou_matrix, xywh_to_xyxy
from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker, Settings
from deep_tracking_ros.pipelines.sources import read_images

DT = 40_000_000  # ns between frames
WEAK = Settings(high_score=0.3, start_score=0.35)
"""Of the tracker, for detectors whose scores are low."""


def sequences(folder):
    """(name, images, of each frame (N, 6) id, xyxy px and seen share) of all sequences below a folder."""
    for truth in sorted([*folder.rglob("groundtruth_rect.txt"), *folder.rglob("gt/gt.txt")]):
        if truth.name == "gt.txt":
            root, rows = truth.parents[1], np.loadtxt(truth, delimiter=",")
            if not (root / "img1").is_dir():
                continue
            images = [frame.image for frame in read_images(root / "img1", 25)]
            rows = rows[rows[:, 7] == 1]
            boxes = [rows[rows[:, 0] == k + 1][:, [1, 2, 3, 4, 5, 8]] for k in range(len(images))]
        else:
            root = truth.parent
            images = [frame.image for frame in read_images(next(root.glob("[iJ]*")), 25)]
            rows = np.loadtxt(truth, delimiter=",", ndmin=2)
            boxes = [np.array([[1, *row, 1]] if np.isfinite(row).all() else np.zeros((0, 6))) for row in rows]
        yield root.name, images, [np.c_[b[:, :1], xywh_to_xyxy(b[:, 1:5]) - 1.5, b[:, 5:]] for b in boxes]


def compared(found, truth, least):
    """Of what is seen by half or more: true boxes found; and of all: found boxes that are right."""
    overlap = iou_matrix(truth[:, 1:5], found)
    clear = truth[:, 5] >= 0.5
    return int((overlap[clear].max(1, initial=0) > least).sum()), int((overlap.max(0, initial=0) > least).sum())


def clear(truth):
    return int((truth[:, 5] >= 0.5).sum())


def by_motion(images, truth, score):
    """Recall and precision at IoU 0.3 and 0.5 from the third image on, boxes per image, CPU ms per image."""
    proposals, counts, costs = MotionProposals(), np.zeros(6), []
    for k, (image, known) in enumerate(zip(images, truth, strict=False)):
        began = time.process_time()
        found = proposals.step(image, k * DT, score, 0.45, 100)
        costs.append((time.process_time() - began) * 1e3)
        if k >= 2:
            counts += [*compared(found.boxes, known, 0.3), *compared(found.boxes, known, 0.5), clear(known), len(found)]
    loose, right_loose, tight, right_tight, known, found = counts
    return [loose / known, tight / known, right_loose / max(found, 1), right_tight / max(found, 1),
            found / (len(costs) - 2), np.median(costs)]  # fmt: skip


def by_network(detector, folder):
    """Recall and precision at IoU 0.5 of people, CPU ms per image."""
    hit, right, known, found_count, costs = 0, 0, 0, 0, []
    for _, images, truth in sequences(folder):
        for image, boxes in zip(images, truth, strict=True):
            began = time.process_time()
            (found,) = detector.detect([image])
            costs.append((time.process_time() - began) * 1e3)
            a, b = compared(found.boxes, boxes, 0.5)
            hit, right, known, found_count = hit + a, right + b, known + clear(boxes), found_count + len(found)
    return hit / known, right / found_count, np.median(costs)


def known_again(appearance, folder):
    """People of the first image who are nearest to themselves in the last one: how many, of how many; CPU ms a crop."""
    same = people = crops = 0
    began = time.process_time()
    for _, images, truth in sequences(folder):
        seen = [truth[k][truth[k][:, 5] >= 0.5] for k in (0, -1)]
        ends = [(rows[:, 0], rows[:, 1:5].astype(np.float32), images[k]) for rows, k in zip(seen, (0, -1), strict=True)]
        looks = appearance.embed([image for *_, image in ends], [boxes for _, boxes, _ in ends])
        crops += sum(map(len, looks))
        stayed = np.isin(ends[0][0], ends[1][0])
        same += int((ends[1][0][(looks[0] @ looks[1].T).argmax(1)] == ends[0][0])[stayed].sum())
        people += int(stayed.sum())
    return same, people, (time.process_time() - began) * 1e3 / crops


def switches(detector, appearance, folder, stride):
    """How often a person's track has another id than before, and how often a person has a track at all."""
    changed = tracked = 0
    for _, images, truth in sequences(folder):
        tracker, last = MultiObjectTracker(WEAK), {}
        for k in range(0, len(images), stride):
            (found,) = detector.detect([images[k]])
            looks = appearance.embed([images[k]], [found.boxes])[0] if appearance else None
            tracks = tracker.step((k + 1) * DT, Boxes(found.boxes, found.scores, found.kinds, looks))
            seen = tracks.scores >= 0
            overlap = iou_matrix(truth[k][:, 1:5], tracks.boxes[seen])
            for row, person in enumerate(truth[k][:, 0]):
                if overlap.shape[1] and overlap[row].max() > 0.5:
                    track = tracks.ids[seen][overlap[row].argmax()]
                    changed += int(last.get(person, track) != track)
                    last[person] = track
                    tracked += 1
    return changed, tracked


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of sequences, for motion")
    parser.add_argument("--people", type=Path, help="folder of sequences as in MOT17, for the networks")
    parser.add_argument(
        "--long", type=Path, help="folder of sequences of one person each, for appearance in the tracker"
    )
    parser.add_argument("--detector", help="ONNX file of a detector with the class person")
    parser.add_argument("--appearance", help="ONNX file of an appearance network")
    parser.add_argument("--score", type=float, default=0.5, help="least score of boxes by motion")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    values, rows = {}, []
    for folder in arguments.data:
        for name, images, truth in sequences(folder):
            measured = by_motion(images, truth, arguments.score)
            rows.append((name, *(f"{v:.2f}" for v in measured)))
            values[name] = [round(float(v), 3) for v in measured]
            print(*rows[-1])
    text = markdown(
        ("by motion", "recall@0.3", "recall@0.5", "precision@0.3", "precision@0.5", "boxes/image", "CPU ms"), rows
    )
    if arguments.detector and arguments.people:
        from deep_tracking_ros.detection.appearance import make_appearance
        from deep_tracking_ros.detection.detector import Filter
        from deep_tracking_ros.detection.registry import make_detector

        detector = make_detector(arguments.detector, threads=1, wanted=Filter(0.25, classes=("person",)))
        recall, precision, ms = by_network(detector, arguments.people)
        values["network"] = {"recall": recall, "precision": precision, "ms": float(ms)}
        text += f"\nThe network: recall {recall:.2f}, precision {precision:.2f} at IoU 0.5, {ms:.1f} CPU ms an image.\n"
        if arguments.appearance:
            appearance = make_appearance(arguments.appearance, threads=1)
            same, people, ms = known_again(appearance, arguments.people)
            text += f"\nAppearance: {same} of {people} people known again, {ms:.1f} CPU ms a crop.\n"
            detector.wanted = Filter(0.1, classes=("person",))
            for folder, stride in ((arguments.people, 1), (arguments.people, 3), (arguments.long, 1)):
                for look in (None, appearance) if folder else ():
                    changed, tracked = switches(detector, look, folder, stride)
                    what = f"{folder.name}, every {stride}. image, {'with' if look else 'without'} appearance"
                    values[what] = {"switches": int(changed), "tracked": tracked}
                    text += f"\n{what}: {changed} switches in {tracked} boxes.\n"
    print(text)
    write("detection", "Detection", values, text, arguments.out)


if __name__ == "__main__":
    main()
