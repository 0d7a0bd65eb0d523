"""``deep-tracking eval frames``: a picture of what trackers do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deep_tracking_ros.cli.measuring import make_competitor, make_console, progress_bar


def frames(
    data: Annotated[Path, typer.Option(help="A sequence, or a folder of them: OTB, VOT, GOT-10k or DAVIS layout.")],
    model: Annotated[list[str], typer.Option(help="Model name or path, or opencv-NAME. Repeat it.")],
    out: Annotated[Path, typer.Option(help="Picture to write (png or jpg).")],
    columns: Annotated[int, typer.Option(min=2, help="Frames of each sequence, evenly spaced.")] = 5,
    width: Annotated[int, typer.Option(min=60, help="Width of a frame, px.")] = 320,
    sequences: Annotated[str | None, typer.Option(help="Only these sequences: names with commas between.")] = None,
    peer_weights: Annotated[Path | None, typer.Option(help="Folder with the ONNX files of opencv-nano, -vit.")] = None,
    backend: Annotated[str, typer.Option(help="auto, torch, onnxruntime or tensorrt.")] = "auto",
) -> None:
    """Draw the boxes of several trackers, and the true one, into frames of each sequence."""
    import cv2
    import numpy as np

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.evaluation.datasets import find_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads
    from deep_tracking_ros.evaluation.sot import run
    from deep_tracking_ros.visualization.contact_sheet import Cell, contact_sheet

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or not out.absolute().parent.is_dir():
        raise InvalidRequestError(f"cannot write {out}: it must be a .png or .jpg in a folder that exists")
    limit_threads(1)
    found = find_sequences(data, [name.strip() for name in sequences.split(",")] if sequences else None)
    competitors = [make_competitor(name, backend, "fp32", 1, peer_weights) for name in model]
    rows = []
    with progress_bar(make_console(), sum(map(len, found)) * len(competitors)) as advance:
        for sequence in found:
            runs = {one.name: run(one, sequence, progress=partial(advance, one.name)) for one in competitors}
            first = len(sequence) - len(next(iter(runs.values())).boxes)
            shown = np.linspace(first, len(sequence) - 1, columns).round().astype(int).tolist()
            rows.append(
                [
                    Cell(
                        sequence.image(index),
                        {name: one.boxes[index - first] for name, one in runs.items()},
                        sequence.boxes[index],
                        caption=f"{sequence.name} {index + 1}",
                    )
                    for index in shown
                ]
            )
    cv2.imwrite(str(out), contact_sheet(rows, width))
