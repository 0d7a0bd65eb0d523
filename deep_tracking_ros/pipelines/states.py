"""From score to state, with hysteresis: a target once lost must score well, and go on doing so, to be found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deep_tracking_ros.errors import InvalidRequestError, ModelError
from deep_tracking_ros.types import FloatArray, State

CONFIRM, DOUBT = 3, 10
"""Frames in a row: until a lost target counts as found, and until an uncertain one counts as lost."""
MEMORY = 0.1
"""Weight of the newest score in the usual one."""


@dataclass(frozen=True)
class Thresholds:
    """Limits on the calibrated score, and for how many frames in a row they have to be passed."""

    tracked: float  # at or above: TRACKED
    lost: float  # below: LOST
    confirm: int = CONFIRM  # frames at or above `found` until a target that was LOST for as many is TRACKED again
    doubt: int = DOUBT  # frames below `tracked` until a target counts as LOST, also where none was below `lost`

    @classmethod
    def choose(
        cls,
        card: Mapping[str, float],
        tracked: float = -1.0,
        lost: float = -1.0,
        confirm: int = CONFIRM,
        doubt: int = DOUBT,
    ) -> Thresholds:
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
        return cls(**values, confirm=confirm, doubt=doubt)

    def found(self, usual: float) -> float:
        """The score that a lost target needs, which scored ``usual`` while it was followed.

        That much, but never less than `tracked`, nor more than half way from there to certainty: a target that was
        followed with certainty is not given away to a look-alike, and one that never scored well can be found at all.
        """
        return max(self.tracked, min(usual, (1 + self.tracked) / 2))


@dataclass(frozen=True, eq=False)
class Sighting:
    """State of one target, where it was last found, and how long ago.

    Between the thresholds a target that was followed becomes UNCERTAIN, and a lost one stays LOST: one good frame may
    be a look-alike, so a lost target has to score well in several frames in a row, as many as it was lost for up to
    `Thresholds.confirm`, and about as well as it used to.
    An UNCERTAIN one that never scores well again is LOST too, as a tracker that sits on the background may go on
    giving middling scores for ever.
    """

    state: State
    box: FloatArray  # (4,) xyxy px, where it was last TRACKED
    unseen: int = 0  # ns since then
    run: int = 0  # frames in a row: with a good score while LOST, without one while UNCERTAIN
    lost_frames: int = 0  # without a good score, since it is LOST
    usual: float = 1.0  # score while TRACKED, a mean in which older frames count less and less

    def next(self, thresholds: Thresholds, box: FloatArray, score: float, dt: int) -> Sighting:
        """The sighting ``dt`` ns later, in a frame where a tracker gave this box and score.

        A score that is not a number finds nothing.
        """
        if self.state is State.LOST:
            run = self.run + 1 if score >= thresholds.found(self.usual) else 0
            if run < max(1, min(self.lost_frames, thresholds.confirm)):
                return replace(self, unseen=self.unseen + dt, lost_frames=self.lost_frames + (not run), run=run)
        if score >= thresholds.tracked:
            return Sighting(State.TRACKED, box, usual=self.usual + MEMORY * (score - self.usual))
        later = replace(self, unseen=self.unseen + dt)
        doubts = self.run + 1 if self.state is State.UNCERTAIN else 1
        if not score >= thresholds.lost or doubts >= thresholds.doubt:
            return replace(later.lost(), lost_frames=1)
        return replace(later, state=State.UNCERTAIN, run=doubts)

    def lost(self) -> Sighting:
        """LOST at once, whatever the score was."""
        return replace(self, state=State.LOST, run=0, lost_frames=0)
