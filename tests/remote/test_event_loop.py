"""The thread that waits: cancelled with its future, finished before it ends."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from qwen3_rerank_plugins.remote.event_loop import BackgroundLoop


async def nothing() -> None:
    pass


def test_a_coroutine_runs_on_the_thread_and_its_error_reaches_the_future() -> None:
    async def fail() -> None:
        raise KeyError(threading.current_thread().name)

    loop = BackgroundLoop("waiting")
    with pytest.raises(KeyError, match="waiting"):
        loop.submit(fail()).result()
    loop.stop(nothing(), 5)


def test_cancelling_the_future_stops_the_coroutine() -> None:
    started, stopped = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    loop = BackgroundLoop("waiting")
    future = loop.submit(wait())
    assert started.wait(5)
    future.cancel()
    assert stopped.wait(5)
    with pytest.raises(CancelledError):
        future.result()
    loop.stop(nothing(), 5)


def test_stopping_finishes_what_was_started_and_then_the_last() -> None:
    order: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.1)
        order.append("slow")

    async def last() -> None:
        order.append("last")

    loop = BackgroundLoop("waiting")
    future = loop.submit(slow())
    loop.stop(last(), 5)
    assert future.done()
    assert order == ["slow", "last"]
    assert "waiting" not in {thread.name for thread in threading.enumerate()}


def test_stopping_from_the_thread_itself_does_not_wait_for_itself() -> None:
    loop = BackgroundLoop("waiting")
    over = threading.Event()

    async def last() -> None:
        over.set()

    async def stop() -> None:
        loop.stop(last(), 5)

    loop.submit(stop()).result(5)
    assert over.wait(5)
