"""Await the future of a thread under asyncio or trio. anyio runs on one of the two, so it works as well."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
from qwen3_rerank_plugins.errors import RequestError

T = TypeVar("T")


async def result_of(future: Future[T], seconds: float | None = None, late: Callable[[], Exception] = TimeoutError) -> T:
    """Return the future's result. Canceling this coroutine cancels the future.

    Args:
        future: what to wait for.
        seconds: how long to wait; None is no limit. Then the future is canceled.
        late: makes the error to raise then.

    Raises:
        RequestError: neither asyncio nor trio runs this coroutine.
        Exception: the exception of the future.
    """
    try:
        trio = _trio()
        if trio is not None:
            return await _under_trio(future, trio, seconds, late)
        with inside_a_call():
            waiting = asyncio.wrap_future(future)
        try:
            if seconds is None:
                return await waiting
            await asyncio.wait([waiting], timeout=seconds)
            if waiting.done():
                return waiting.result()
            waiting.cancel()
            raise late()
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        finally:
            del waiting
    finally:
        del future  # the future refers to its error, whose traceback refers to this frame


def check_event_loop() -> None:
    """Raise `RequestError` if neither asyncio nor trio runs this coroutine."""
    if _trio() is None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RequestError(
                "The asynchronous methods run under asyncio or trio, also through anyio, and neither runs here. Use "
                "the synchronous method in a thread, such as rank() for arank()."
            ) from None


def _trio() -> Any:
    """Return the trio module if trio runs the calling coroutine. Each library may run on top of the other's loop."""
    trio: Any = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return None
    with contextlib.suppress(RuntimeError):  # raised if there is no running loop
        if asyncio.current_task() is not None:
            return None
    return trio


async def _under_trio(future: Future[T], trio: Any, seconds: float | None, late: Callable[[], Exception]) -> T:
    done, token = trio.Event(), trio.lowlevel.current_trio_token()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    with inside_a_call():
        future.add_done_callback(wake)
    try:
        with trio.move_on_after(math.inf if seconds is None else seconds) as limit:
            await done.wait()
        if limit.cancelled_caught:
            raise late()
        return future.result()
    except BaseException:
        future.cancel()
        raise
    finally:
        del future
