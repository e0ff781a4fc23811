"""Engines closed while they are used, and doors that others still stand in.

Comes in: the doors that everybody uses. Goes out: new ones, and which calls may have met a closed one.
Must not know: questions, answers.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

from qwen3_rerank_plugins import close_all
from tests.load.entry_points import Doors


class Entrance:
    """The doors of the day.

    Attributes:
        doors: what a new call goes through.
        closings: how many were begun; `_ended` how many are over.
    """

    def __init__(self, engine: dict[str, Any]) -> None:
        self.doors = Doors(engine)
        self.closings = 0
        self._ended = 0

    def mark(self) -> int:
        """To be kept from the start of a call to its end."""
        return self._ended

    def closed_since(self, mark: int) -> bool:
        """Whether a closing and the call since `mark` fell together."""
        return self.closings > mark

    def close_engines(self) -> None:
        """Every engine of the process; the same doors load anew."""
        with self._closing():
            close_all()

    def replace_doors(self) -> None:
        """New rerankers and adapters; the old rerankers are closed under those who use them."""
        with self._closing():
            old, self.doors = self.doors, Doors(self.doors.engine)
            old.close()

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        self.closings += 1
        try:
            yield
        finally:
            self._ended += 1


def close_at_times(entrance: Entrance, every: float, seed: int, stop: threading.Event) -> None:
    """Engines and doors in turns until told to stop, `every` so many seconds on average."""
    dice = random.Random(f"{seed}/closing")
    while not stop.wait(every * dice.uniform(0.5, 1.5)):
        entrance.close_engines()
        if not stop.wait(every * dice.uniform(0.5, 1.5)):
            entrance.replace_doors()
