"""An engine that serves at once and is exchanged for a better one when that is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Array, Engine
from deep_tracking_ros.inference.parity import Sample, check_parity, example_inputs

Progress = Callable[[float, str], object]
"""Told how far a build is, from 0 to 1, and what it does; returning False stops the build."""


class SwappableEngine(Engine):
    """Runs one engine until `upgrade` (or `swap`) brings another.

    Calls go on in the callers' threads meanwhile. Whoever wants the upgrade owns its thread; here is none::

        for engine in tracker.engines:
            if isinstance(engine, SwappableEngine):
                Thread(target=engine.upgrade, args=(progress,)).start()
    """

    def __init__(
        self, current: Engine, build: Callable[[Progress | None], Engine], sample: Sample | None = None
    ) -> None:
        """Serve with an engine until there is a better one.

        Args:
            current: serves from now on.
            build: makes the better engine, taking its time.
            sample: what the better engine must give. None = what the present one gives for a batch of noise.
        """
        super().__init__(current.network, current.precision)
        self._build, self._sample = build, sample
        self._use(current)

    def upgrade(self, progress: Progress | None = None) -> None:
        """Build the better engine (minutes), try it, and swap it in.

        Raises `EngineError` where it cannot be built, or its results are off by more than `parity.TOLERANCE`; the
        present engine then goes on.
        """
        new = self._build(progress)
        try:
            sample = self._sample
            if sample is None:
                inputs = example_inputs(self.network)
                sample = Sample(inputs, self(**inputs))
            difference = check_parity(new, sample)
        except EngineError:
            new.close()
            raise
        new.reason += f"; off by {difference:.1e} on its sample"
        self.swap(new)

    def swap(self, new: Engine) -> None:
        """Run ``new`` from the next call on, and close the present engine once its last call is done."""
        with self._turn:
            unwanted = new
            if not self.closed:
                unwanted = self._current
                self._use(new)
        unwanted.close()

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return self._current.run(arrays)

    def free(self) -> None:
        self._current.close()

    def _use(self, engine: Engine) -> None:
        self._current = engine
        self.backend, self.precision, self.reason = engine.backend, engine.precision, engine.reason
