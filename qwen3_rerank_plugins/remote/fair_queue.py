"""Limit the number of concurrent requests, and share them fairly among calls.

A call may queue hundreds of requests. Calls take turns, so a small call waits for one request of each other call only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator


class Turns:
    """Hands out turns. All methods run on one event loop.

    Args:
        at_once: maximum number of concurrent turns.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[object, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, caller: object) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the context ends.

        Args:
            caller: identifies the call. Requests of the same caller share its turns.
        """
        await self._take(caller)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, caller: object) -> None:
        if self._free:  # so no other request is waiting
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # it got the turn just before it was canceled
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            caller, queue = self._waiting.popitem(last=False)
            following = _first_waiting(queue)
            if queue:
                self._waiting[caller] = queue  # to the back of the queue
            if following:
                following.set_result(None)
                return
        self._free += 1


def _first_waiting(queue: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
    """Take the first request that was not canceled from the queue, and drop those before it."""
    while queue:
        if not (first := queue.popleft()).done():
            return first
    return None
