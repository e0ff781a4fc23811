"""A few requests at once, and whose turn comes next.

A call may queue hundreds of requests. Callers take turns, so that a small call beside it waits for one request of each
other caller, and not for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator


class Turns:
    """Hands out turns. All of it runs on one event loop.

    Args:
        at_once: how many turns there are at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[object, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, caller: object) -> AsyncIterator[None]:
        """Wait for a turn, and have it for as long as the context lasts.

        Args:
            caller: whoever shares one place in the round.
        """
        await self._take(caller)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, caller: object) -> None:
        if self._free:  # then nobody waits
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # the turn came just as its caller left
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            caller, queue = self._waiting.popitem(last=False)
            following = _first_waiting(queue)
            if queue:
                self._waiting[caller] = queue  # behind all others
            if following:
                following.set_result(None)
                return
        self._free += 1


def _first_waiting(queue: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
    """The first of a queue whose task was not cancelled, taken out of it together with those before it."""
    while queue:
        if not (first := queue.popleft()).done():
            return first
    return None
