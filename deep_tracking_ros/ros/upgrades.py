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

    def stop(self) -> None:
        """Give up what is being built, and wait until the builder has noticed."""
        self._stopped = True
        if self._thread.is_alive():
            self._thread.join()

    def _build(self) -> None:
        for engine in self._waiting:
            name = engine.network.name

            def report(part: float, what: str, name: str = name) -> bool:
                self.progress = f"{name}: {part:.0%}"
                return not self._stopped

            if self._stopped:
                break
            self._log(f"building a better engine for network {name}; {engine.backend} serves meanwhile")
            try:
                engine.upgrade(report)
                self._log(f"network {name} has its better engine")
            except DeepTrackingError as error:
                if not self._stopped:
                    self._warn(f"network {name} stays on {engine.backend}: {error}")
        self.progress = ""
