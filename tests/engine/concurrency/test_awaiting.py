"""Awaiting under asyncio, trio and anyio; anything else is refused in words."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.concurrency.awaiting import result_of
from qwen3_rerank_plugins.errors import RequestError
from tests.doubles import OverlapScorer
from tests.engine.test_submission import Pending

LIMIT = 30.0
QUERY, DOCUMENTS = "the capital of China", ["Gravity.", "Beijing is the capital of China."]

needs_trio = pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")


def under_asyncio(function: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(function(), LIMIT)

    return asyncio.run(main())


def under_trio(function: Callable[[], Awaitable[Any]]) -> Any:
    import trio

    async def main() -> Any:
        with trio.fail_after(LIMIT):
            return await function()

    return trio.run(main)


def under_anyio(function: Callable[[], Awaitable[Any]]) -> Any:
    anyio = pytest.importorskip("anyio")
    return [anyio.run(function, backend=backend) for backend in ("asyncio", "trio")][1]


LIBRARIES = [
    under_asyncio,
    pytest.param(under_trio, marks=needs_trio),
    pytest.param(under_anyio, marks=needs_trio),
]


@pytest.fixture(scope="module")
def reranker() -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker("demo", device="cpu") as reranker:
        yield reranker


@pytest.mark.parametrize("run", LIBRARIES)
def test_the_asynchronous_twins_answer_as_the_synchronous_ones(
    run: Callable[..., Any], reranker: Qwen3Reranker
) -> None:
    pairs = [(QUERY, DOCUMENTS[0]), ("gravity", DOCUMENTS[0]), (QUERY, DOCUMENTS[1])]
    assert run(lambda: reranker.arank(QUERY, DOCUMENTS)) == reranker.rank(QUERY, DOCUMENTS)
    assert run(lambda: reranker.ascore(pairs)) == pytest.approx(reranker.score(pairs), abs=1e-5)


@pytest.mark.parametrize("run", LIBRARIES)
def test_an_error_arrives_under_each_library(run: Callable[..., Any], reranker: Qwen3Reranker) -> None:
    with pytest.raises(RequestError, match="no document token would fit"):
        run(lambda: reranker.arank("a long query " * 10_000, DOCUMENTS))
    failing: Future[None] = Future()
    failing.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        run(lambda: result_of(failing))


@needs_trio
def test_cancelling_under_trio_drops_what_has_not_run() -> None:
    import trio

    scorer = Pending()
    submitted = threading.Event()
    scorer._meanwhile = lambda count: submitted.set() if count == 1 else None

    async def main() -> None:
        reranker = Qwen3Reranker(scorer=scorer)
        with trio.move_on_after(LIMIT) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reranker.ascore, [("one", "a"), ("two", "b")])
                await trio.to_thread.run_sync(submitted.wait, LIMIT)
                while len(scorer.futures) < 2:
                    await trio.sleep(0.01)
                scope.cancel()

    trio.run(main)
    assert [future.cancelled() for future in scorer.futures] == [True, True]


@needs_trio
def test_a_future_that_is_done_after_trio_has_left_disturbs_nobody() -> None:
    import trio

    late: Future[None] = Future()
    late.set_running_or_notify_cancel()  # it can no longer be cancelled

    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            await result_of(late)
        return scope.cancelled_caught

    assert trio.run(main)
    late.set_result(None)
    assert late.result() is None


@needs_trio
def test_trio_as_a_guest_of_asyncio_and_its_host_are_told_apart(
    reranker: Qwen3Reranker,
) -> None:
    import trio

    async def guest() -> Any:
        return await reranker.arank(QUERY, DOCUMENTS)

    async def host() -> Any:
        loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        mine = await reranker.arank(QUERY, DOCUMENTS)
        theirs = (await asyncio.wait_for(done, LIMIT)).unwrap()
        return mine, theirs

    mine, theirs = asyncio.run(host())
    expected = [found.score for found in reranker.rank(QUERY, DOCUMENTS)]
    for ranked in (mine, theirs):
        assert [found.score for found in ranked] == pytest.approx(expected, abs=1e-5)


def test_without_an_event_loop_the_error_says_what_to_do_and_nothing_is_submitted() -> None:
    scorer = OverlapScorer()
    coroutine = Qwen3Reranker(scorer=scorer).arank(QUERY, DOCUMENTS)
    with pytest.raises(RequestError, match=r"run under asyncio or trio.*neither runs here. Use the synchronous method"):
        coroutine.send(None)
    assert scorer.requests == []


def test_an_application_may_fill_the_executor_of_its_loop_with_functions_that_wait_for_us() -> None:
    """They wait in the executor's only two threads, for calls that once needed a thread of it themselves."""
    reranker = Qwen3Reranker(scorer=OverlapScorer())

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))

        def wait_for_us(number: int) -> int:
            call = reranker.arank(QUERY, DOCUMENTS, top_n=number)
            return len(asyncio.run_coroutine_threadsafe(call, loop).result(LIMIT))

        return await asyncio.gather(*(asyncio.to_thread(wait_for_us, number % 3) for number in range(20)))

    assert asyncio.run(main()) == [number % 3 for number in range(20)]


def test_a_thousand_calls_at_once_share_a_few_threads() -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    most = 0

    async def watched() -> None:
        nonlocal most
        await reranker.arank(QUERY, DOCUMENTS)
        most = max(most, threading.active_count())

    async def main() -> None:
        await asyncio.gather(*(watched() for _ in range(1000)))

    before = threading.active_count()
    asyncio.run(main())
    assert most - before <= 4
