"""Rerankers and engines that are closed while callers use them."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

from qwen3_rerank_plugins import close_all
from tests.load.entry_points import Clients


class SharedClients:
    """The clients that new calls use.

    Attributes:
        clients: the current clients.
        closings: how often closing began; `_ended` is how often it ended.
    """

    def __init__(self, engine: dict[str, Any]) -> None:
        self.clients = Clients(engine)
        self.closings = 0
        self._ended = 0

    def mark(self) -> int:
        """Return a mark for `closed_since`, to be taken at the start of a call."""
        return self._ended

    def closed_since(self, mark: int) -> bool:
        """Return whether something was closed during the call that took `mark`."""
        return self.closings > mark

    def close_engines(self) -> None:
        """Close every engine of the process; the same clients load new ones."""
        with self._closing():
            close_all()

    def replace_clients(self) -> None:
        """Make new clients, and close the old rerankers while callers use them."""
        with self._closing():
            old, self.clients = self.clients, Clients(self.clients.engine)
            old.close()

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        self.closings += 1
        try:
            yield
        finally:
            self._ended += 1


def close_at_times(shared: SharedClients, every: float, seed: int, stop: threading.Event) -> None:
    """Close engines and replace clients in turns until `stop` is set, `every` seconds on average."""
    dice = random.Random(f"{seed}/closing")
    while not stop.wait(every * dice.uniform(0.5, 1.5)):
        shared.close_engines()
        if not stop.wait(every * dice.uniform(0.5, 1.5)):
            shared.replace_clients()
