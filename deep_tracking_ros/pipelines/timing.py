"""Parameters of time that many pipelines have, with the same limits and words in each."""

from __future__ import annotations

from typing import Any

from deep_tracking_ros.parameters import parameter


def reorder_wait(what: str) -> Any:
    """Of `Turns`; ``what`` waits, such as 'Detections'."""
    text = f"{what} wait so long, in stamps, for earlier ones that come late."
    return parameter(0.0, text, unit="s", minimum=0, maximum=60)


def reorder_tolerance(what: str) -> Any:
    """Of `TimeRules`; ``what`` may be late, such as 'An image' or 'Detections'."""
    if what.startswith(("A ", "An ")):
        text = f"{what} older than the one before it by up to this is dropped as late; one still older is a time jump."
    else:
        text = f"{what} older than the ones before by up to this are dropped as late; still older ones are a time jump."
    return parameter(0.1, text, unit="s", minimum=0, maximum=60)


def max_gap(what: str) -> Any:
    """Of `TimeRules`; the pause is between two of ``what``, such as 'images'."""
    text = f"A longer pause between two {what} is a time jump."
    return parameter(2.0, text, unit="s", minimum=0.001, maximum=3600)


def predict_to_now(along: str) -> Any:
    """Whether `Pipeline.predict` does anything; boxes are moved ``along`` their velocity or motion."""
    return parameter(False, f"Move the boxes along their {along} to the time at which they are published (valid_at).")


def max_prediction() -> Any:
    """How far `Pipeline.predict` goes."""
    return parameter(0.5, "Boxes are moved no further into the future than this.", unit="s", minimum=0, maximum=60)
