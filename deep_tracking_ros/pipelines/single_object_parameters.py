"""The parameters of the single-object pipeline, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.states import CONFIRM, DOUBT


@dataclass(frozen=True)
class SingleObjectParameters:
    """Parameters of `SingleObjectPipeline`, which node, YAML, ``--help`` and the docs take from here."""

    model: str = parameter("rpt", "Name of a model (deep-tracking models list), or the path of a model's folder.")
    backend: str = parameter(
        "auto",
        "What runs the network; auto takes the first of tensorrt, onnxruntime and torch that works here.",
        choices=("auto", "tensorrt", "onnxruntime", "torch"),
    )
    precision: str = parameter(
        "fp32", "Number type of the network; the smaller ones need a GPU.", choices=("fp32", "fp16", "bf16")
    )
    threads: int = parameter(
        0,
        "CPU threads of the network (with torch: of the whole process); 0 = as many as the backend likes.",
        minimum=0,
        maximum=1024,
    )
    max_targets: int = parameter(16, "Most targets followed at a time.", minimum=1, maximum=1024)
    tracked_threshold: float = parameter(
        -1.0, "Score from which a target counts as TRACKED; -1 = as the model's card says.", minimum=-1, maximum=1
    )
    lost_threshold: float = parameter(
        -1.0, "Score below which a target counts as LOST; -1 = as the model's card says.", minimum=-1, maximum=1
    )
    doubt_frames: int = parameter(
        DOUBT,
        "Images in a row without a score of TRACKED after which an UNCERTAIN target counts as LOST.",
        unit="images",
        minimum=1,
        maximum=100000,
    )
    confirm_frames: int = parameter(
        CONFIRM,
        "Images in a row with a score of TRACKED after which a LOST target counts as found; more = fewer false alarms.",
        unit="images",
        minimum=1,
        maximum=1000,
    )
    search_windows: int = parameter(
        4,
        "Places other than the last one at which LOST targets are looked for in an image, of all targets together; "
        "each costs as much as a target. 0 = none.",
        minimum=0,
        maximum=1024,
    )
    search_speed: float = parameter(
        10.0,
        "How fast the circle around the last place grows in which a LOST target is looked for.",
        unit="sizes/s",
        minimum=0,
        maximum=10000,
    )
    frame_buffer: float = parameter(
        3.0, "How old an image may be on which a target is set.", unit="s", minimum=0, maximum=600
    )
    frame_buffer_mb: int = parameter(
        256, "Most memory for images kept for that; the oldest go first.", unit="MB", minimum=1, maximum=65536
    )
    catch_up_frames: int = parameter(
        30,
        "Most kept images through which a target set on a past image is followed, of more every n-th; each is a "
        "network run for which all other targets wait.",
        minimum=1,
        maximum=10000,
    )
    reorder_tolerance: float = timing.reorder_tolerance("An image")
    max_gap: float = timing.max_gap("images")
    predict_to_now: bool = timing.predict_to_now("velocity")
    max_prediction: float = timing.max_prediction()
    black_box: str = parameter(
        "",
        "Folder for recordings of the last seconds before targets were lost, one mcap each that deep-tracking process "
        "replays; empty = none are made.",
    )
    black_box_seconds: float = parameter(
        3.0,
        "Length of these recordings; images are kept for as long, within frame_buffer_mb.",
        unit="s",
        minimum=0.1,
        maximum=600,
    )
    black_box_mb: int = parameter(
        500, "Most disk space of all recordings in the folder; the oldest are removed.", unit="MB", minimum=1,
        maximum=1000000,
    )  # fmt: skip
