"""A call's requests are answered together, or none of them runs for nobody."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
import pytest

from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.submission import asubmit_all, submit_all
from qwen3_rerank_plugins.errors import PassError, RequestError, RerankTimeoutError
from tests.doubles import OverlapScorer

LIMIT = 10.0
WAYS = ["submit_all", "asyncio", "trio"]
REQUESTS = [make_request(f"question {number}", ["a", "b"], None, 512) for number in range(3)]


class Pending:
    """A scorer whose futures the test fulfils; `meanwhile` runs inside each submission."""

    def __init__(self, meanwhile: Callable[[int], object] = lambda _: None) -> None:
        self.futures: list[Future[Scores]] = []
        self._meanwhile = meanwhile

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self._meanwhile(len(self.futures))
        self.futures.append(Future())
        return self.futures[-1]

    def warmup(self) -> None: ...

    def close(self) -> None: ...

    def answer(self, position: int) -> Scores:
        scores = Scores((float(position), 0.0), (0, 0))
        self.futures[position].set_result(scores)
        return scores

    def found(self) -> Pending:
        return self


def test_answers_come_in_the_order_of_the_requests_whichever_is_ready_first() -> None:
    scorer = Pending()

    def answer_backwards(count: int) -> None:
        if count == 2:
            threading.Timer(0.05, lambda: [scorer.answer(position) for position in (2, 1, 0)]).start()

    scorer._meanwhile = answer_backwards
    assert [scores.log_odds[0] for scores in submit_all(REQUESTS, scorer.found)] == [0, 1, 2]
    assert submit_all([], scorer.found) == []


@pytest.mark.asyncio
async def test_the_asynchronous_twin_answers_alike() -> None:
    scorer = Pending()

    def answer_backwards(count: int) -> None:
        if count == 2:
            threading.Timer(0.05, lambda: [scorer.answer(position) for position in (2, 1, 0)]).start()

    scorer._meanwhile = answer_backwards
    assert [scores.log_odds[0] for scores in await asubmit_all(REQUESTS, scorer.found)] == [0, 1, 2]
    assert await asubmit_all([], scorer.found) == []


@pytest.mark.parametrize("way", ["ask", "asubmit_all"])
def test_a_refused_request_takes_back_those_that_were_submitted_before_it(way: str) -> None:
    def refuse_the_second(count: int) -> None:
        if count == 1:
            raise RequestError("too long")

    scorer = Pending(refuse_the_second)
    with pytest.raises(RequestError, match="too long"):
        asyncio.run(asubmit_all(REQUESTS, scorer.found)) if way == "asubmit_all" else submit_all(REQUESTS, scorer.found)
    assert [future.cancelled() for future in scorer.futures] == [True]


@pytest.mark.parametrize("way", ["ask", "asubmit_all"])
def test_a_failed_request_takes_back_those_that_still_wait(way: str) -> None:
    scorer = Pending()

    def break_the_first(count: int) -> None:
        if count == 2:
            threading.Timer(0.05, lambda: scorer.futures[0].set_exception(PassError("broken"))).start()

    scorer._meanwhile = break_the_first
    with pytest.raises(PassError, match="broken"):
        asyncio.run(asubmit_all(REQUESTS, scorer.found)) if way == "asubmit_all" else submit_all(REQUESTS, scorer.found)
    assert [future.cancelled() for future in scorer.futures] == [False, True, True]


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_while_it_submits_leaves_nothing_to_run() -> None:
    """The thread that submits cannot be stopped: what it queues after the cancellation has to be taken back."""
    submitting, going_on = threading.Event(), threading.Event()

    def wait_in_the_second(count: int) -> None:
        if count == 1:
            submitting.set()
            assert going_on.wait(LIMIT)

    scorer = Pending(wait_in_the_second)
    task = asyncio.create_task(asubmit_all(REQUESTS, scorer.found))
    assert await asyncio.to_thread(submitting.wait, LIMIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    going_on.set()
    for thread in threading.enumerate():
        if thread.name == "qwen3-rerank-tokenize":
            await asyncio.to_thread(thread.join, LIMIT)
    assert [future.cancelled() for future in scorer.futures] == [True, True], "the third is not even submitted"


@pytest.mark.parametrize("way", ["ask", "asubmit_all"])
def test_a_failed_call_is_no_circle_that_only_the_garbage_collector_would_find(way: str) -> None:
    scorer = Pending()

    def break_the_first(count: int) -> None:
        if count == 2:
            scorer.futures[0].set_exception(PassError("broken"))

    scorer._meanwhile = break_the_first
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(PassError):
            asyncio.run(asubmit_all(REQUESTS, scorer.found)) if way == "asubmit_all" else submit_all(
                REQUESTS, scorer.found
            )
        gone = [weakref.ref(future) for future in scorer.futures]
        scorer.futures.clear()
        assert [future() for future in gone] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.asyncio
async def test_a_small_asynchronous_call_is_answered_while_twelve_large_ones_are_tokenized() -> None:
    """The large ones go on once the small one has its answer, so a small one that waits for them waits for ever."""
    answered = threading.Event()

    class Slow(OverlapScorer):
        def submit(self, request: RerankRequest) -> Future[Scores]:
            if len(request.documents[0]) > 1000:
                assert answered.wait(LIMIT)
            return super().submit(request)

    scorer = Slow()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
    large = make_request("question", ["word " * 600_000], None, 512)
    waiting = [asyncio.create_task(asubmit_all([large], lambda: scorer)) for _ in range(12)]
    await asyncio.sleep(0)
    await asyncio.wait_for(asubmit_all([REQUESTS[0]], lambda: scorer), LIMIT / 2)
    answered.set()
    assert len(await asyncio.gather(*waiting)) == 12


@pytest.mark.asyncio
async def test_the_first_failure_is_raised_though_an_earlier_request_still_waits() -> None:
    scorer = Pending()
    task = asyncio.create_task(asubmit_all(REQUESTS, scorer.found))
    while len(scorer.futures) < 3:
        await asyncio.sleep(0.001)
    scorer.futures[1].set_exception(PassError("broken"))
    with pytest.raises(PassError, match="broken"):
        await asyncio.wait_for(task, LIMIT)
    assert scorer.futures[0].cancelled()


def submit(way: str, scorer: Pending, call: Call) -> list[Scores]:
    """Submit `REQUESTS` in one of `WAYS`."""
    if way == "submit_all":
        return submit_all(REQUESTS, scorer.found, call)
    return anyio.run(asubmit_all, REQUESTS, scorer.found, call, backend=way)


@pytest.mark.parametrize("way", WAYS)
def test_a_late_call_fails_at_its_deadline_and_takes_back_what_still_waits(way: str) -> None:
    scorer = Pending()

    def answer_the_first(count: int) -> None:
        if count == 1:
            scorer.answer(0)

    scorer._meanwhile = answer_the_first
    with pytest.raises(RerankTimeoutError, match="within its timeout of 0.1 seconds") as late:
        submit(way, scorer, Call(0.1))
    assert late.value.waiting_seconds >= 0.1
    assert [future.cancelled() for future in scorer.futures] == [False, True, True]


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_late_even_while_its_scorer_still_loads_and_submits_no_more(way: str) -> None:
    loaded = threading.Event()
    scorer = Pending(lambda _: loaded.wait(LIMIT))
    with pytest.raises(RerankTimeoutError):
        submit(way, scorer, Call(0.05))
    loaded.set()
    for thread in threading.enumerate():
        if thread.name == "qwen3-rerank-tokenize":
            thread.join(LIMIT)
    assert [future.cancelled() for future in scorer.futures] == [True], "the others are not even submitted"


@pytest.mark.parametrize("way", WAYS)
def test_a_call_with_a_timeout_that_is_in_time_gets_its_answers_and_its_failures(way: str) -> None:
    class Answering(Pending):
        def submit(self, request: RerankRequest) -> Future[Scores]:
            assert request.call is call
            future = super().submit(request)
            self.answer(len(self.futures) - 1)
            return future

    call = Call(LIMIT)
    assert [scores.log_odds[0] for scores in submit(way, Answering(), call)] == [0, 1, 2]
    assert not call.late

    def refuse(_: int) -> None:
        raise RequestError("too long")

    with pytest.raises(RequestError, match="too long"):
        submit(way, Pending(refuse), Call(LIMIT))


@pytest.mark.asyncio
async def test_a_time_limit_of_asyncio_drops_the_work_and_stays_its_own_error() -> None:
    scorer, call = Pending(), Call(LIMIT)
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.1):
            await asubmit_all(REQUESTS, scorer.found, call)
    assert not isinstance(raised.value, RerankTimeoutError)
    assert call.late
    for thread in threading.enumerate():
        if thread.name == "qwen3-rerank-tokenize":
            await asyncio.to_thread(thread.join, LIMIT)
    assert all(future.cancelled() for future in scorer.futures)


@pytest.mark.parametrize("way", WAYS)
def test_a_late_call_is_no_circle_that_only_the_garbage_collector_would_find(way: str) -> None:
    scorer = Pending()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(RerankTimeoutError):
            submit(way, scorer, Call(0.05))
        gone = [weakref.ref(future) for future in scorer.futures]
        scorer.futures.clear()
        assert [future() for future in gone] == [None, None, None]
    finally:
        gc.enable()
