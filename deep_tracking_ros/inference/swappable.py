"""An engine that serves at once and is exchanged for a better one when that is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deep_tracking_ros.inference.engine import Array, Engine

Progress = Callable[[float, str], object]
"""Told how far a build is, from 0 to 1, and what it does; returning False stops the build."""


class SwappableEngine(Engine):
    """Runs one engine until `upgrade` (or `swap`) brings another.

    Calls go on in the caller's thread meanwhile. The caller owns the thread that upgrades; here is none::

        for engine in tracker.engines:
            if isinstance(engine, SwappableEngine):
                Thread(target=engine.upgrade, args=(progress,)).start()
    """

    def __init__(self, current: Engine, build: Callable[[Progress | None], Engine]) -> None:
        """Serve with ``current``; ``build`` makes the better engine, taking its time."""
        super().__init__(current.network, current.precision)
        self._build = build
        self._next: Engine | None = None
        self._use(current)

    def upgrade(self, progress: Progress | None = None) -> None:
        """Build the better engine (minutes) and swap it in.

        Raises `EngineError` where it cannot be built; the present engine then goes on.
        """
        self.swap(self._build(progress))

    def swap(self, new: Engine) -> None:
        """Run ``new`` from the next call on. May be called from another thread than the calls are made in."""
        self._next = new  # the calling thread takes it up: it alone knows when the old engine is at rest

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        new = self._next
        if new is not None:
            self._next = None
            old = self._current
            self._use(new)
            old.close()
        return self._current.run(arrays)

    def close(self) -> None:
        self._current.close()
        if self._next is not None:
            self._next.close()

    def _use(self, engine: Engine) -> None:
        self._current = engine
        self.backend, self.precision, self.reason = engine.backend, engine.precision, engine.reason
