"""Better engines, built in a thread of their own while the present ones serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread

from deep_tracking_ros.errors import DeepTrackingError
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.inference.swappable import SwappableEngine


class Upgrades:
    """Builds one engine after another and swaps each in; nothing is started where none is to be built."""

    def __init__(self, engines: Iterable[Engine], log: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self._waiting = [engine for engine in engines if isinstance(engine, SwappableEngine)]
        self._log, self._warn = log, warn
        self._stopped = False
        self.progress = ""
        """What is being built and how far it is, for diagnostics; empty = nothing."""
        self._thread = Thread(target=self._build, name="engine builder", daemon=True)
        if self._waiting:
            self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Give up what is being built, and wait until the builder has noticed, at most ``patience`` s."""
        self._stopped = True
        if self._thread.is_alive():
            self._thread.join(patience)
        if self._thread.is_alive():
            self._warn(f"the build of an engine does not stop ({self.progress}); its result will be dropped")

    def _build(self) -> None:
        for engine in self._waiting:
            if self._stopped:
                return
            self._upgrade(engine)

    def _upgrade(self, engine: SwappableEngine) -> None:
        name = engine.network.name

        def report(part: float, what: str) -> bool:
            self.progress = f"{name}: {part:.0%}"
            return not self._stopped

        self._log(f"building a better engine for network {name}; {engine.backend} serves meanwhile")
        try:
            engine.upgrade(report)
            self._log(f"network {name} has its better engine")
        except Exception as error:  # whatever it is, the present engine goes on, and the next one is built
            text = str(error) if isinstance(error, DeepTrackingError) else f"{type(error).__name__}: {error}"
            if not self._stopped:
                self._warn(f"network {name} stays on {engine.backend}: {text}")
        finally:
            self.progress = ""
