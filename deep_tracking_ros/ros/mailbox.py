"""What waits for a worker thread: calls, and items of which old ones give way to new ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Any


@dataclass(frozen=True, eq=False)
class Item:
    """One input on its way to the pipeline."""

    port: str
    value: Any
    arrived: float  # monotonic s, when the middleware had it


class Mailbox:
    """Hands items and calls from many threads to one.

    Of each port at most ``capacity`` items wait, and the oldest of them is dropped for a new one: with 1, the newest
    wins. Calls are never dropped and go before all items.
    """

    def __init__(self, capacity: int = 1) -> None:
        self.capacity = capacity
        self._calls: deque[Callable[[], None]] = deque()
        self._items: deque[Item] = deque()
        self._changed = Condition()
        self._closed = False

    def put(self, item: Item) -> int:
        """Leave an item; gives how many were dropped for it (0 or 1). After `close` it is forgotten."""
        with self._changed:
            if self._closed:
                return 0
            same = [other for other in self._items if other.port == item.port]
            full = len(same) >= self.capacity
            if full:
                self._items.remove(same[0])
            self._items.append(item)
            self._changed.notify()
            return int(full)

    def call(self, function: Callable[[], None]) -> bool:
        """Leave a function to be called; False after `close`, and it will not be."""
        with self._changed:
            if self._closed:
                return False
            self._calls.append(function)
            self._changed.notify()
            return True

    def take(self) -> Item | Callable[[], None] | None:
        """Wait for the next call or item; None once the mailbox is closed and no call is left."""
        with self._changed:
            while not (self._calls or self._items or self._closed):
                self._changed.wait()
            if self._calls:
                return self._calls.popleft()
            return None if self._closed else self._items.popleft()

    def others(self, item: Item) -> list[Item]:
        """Of each port but that of an item taken before, the item that has waited longest; without waiting for any."""
        with self._changed:
            first: dict[str, Item] = {}
            for other in self._items:
                if other.port != item.port:
                    first.setdefault(other.port, other)
            self._items = deque(other for other in self._items if first.get(other.port) is not other)
            return list(first.values())

    def close(self) -> None:
        """Forget the items; calls that were left already are still handed out."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
