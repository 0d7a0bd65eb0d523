"""From score to state, with hysteresis: a target once lost must score well to count as found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deep_tracking_ros.errors import InvalidRequestError, ModelError
from deep_tracking_ros.types import FloatArray, State


@dataclass(frozen=True)
class Thresholds:
    """Limits on the calibrated score."""

    tracked: float  # at or above: TRACKED
    lost: float  # below: LOST

    @classmethod
    def choose(cls, card: Mapping[str, float], tracked: float = -1.0, lost: float = -1.0) -> Thresholds:
        """The thresholds of a model card, each replaced where a value that is not negative is given.

        Raises `ModelError` where neither gives one, and `InvalidRequestError` for ``lost`` above ``tracked``.
        """
        values = {"tracked": tracked, "lost": lost}
        for name, value in values.items():
            if value < 0:
                if name not in card:
                    raise ModelError(
                        f"the model card has no threshold {name!r}; add it, or set the parameter {name}_threshold"
                    )
                values[name] = float(card[name])
        if values["lost"] > values["tracked"]:
            raise InvalidRequestError(
                f"lost_threshold is {values['lost']:g}, above tracked_threshold {values['tracked']:g}; it must be below"
            )
        return cls(**values)

    def next(self, state: State, score: float) -> State:
        """The state after a frame with this score.

        Between the thresholds a target that was followed becomes UNCERTAIN, and a lost one stays LOST. A score that
        is not a number finds nothing.
        """
        if score >= self.tracked:
            return State.TRACKED
        if not score >= self.lost:
            return State.LOST
        return State.LOST if state is State.LOST else State.UNCERTAIN


@dataclass(frozen=True, eq=False)
class Sighting:
    """State of one target, where it was last found, and how long ago."""

    state: State
    box: FloatArray  # (4,) xyxy px, where it was last TRACKED
    unseen: int = 0  # ns since then

    def next(self, thresholds: Thresholds, box: FloatArray, score: float, dt: int) -> Sighting:
        """The sighting ``dt`` ns later, in a frame where a tracker gave this box and score."""
        state = thresholds.next(self.state, score)
        if state is State.TRACKED:
            return Sighting(state, box)
        return Sighting(state, self.box, self.unseen + dt)

    def lost(self) -> Sighting:
        """LOST at once, whatever the score was."""
        return replace(self, state=State.LOST)
