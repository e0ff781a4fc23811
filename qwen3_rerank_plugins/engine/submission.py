"""The requests of one call on their way: all of them are answered, or what has not run yet never does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.concurrency.awaiting import check_event_loop, result_of
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, inside_a_call
from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import tokenizer_threads
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores


def submit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """All answers, or the first failure; whatever then still waits is dropped."""
    call = _Call()
    with inside_a_call():
        try:
            call.submit(requests, find_scorer())
            return call.results()
        except BaseException:  # an interrupt as well: nobody will read the other results
            call.give_up()
            raise
        finally:
            call.let_go()


async def asubmit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """`ask` without blocking the event loop of asyncio or trio; cancelling the task drops what has not run yet.

    Tokenizing takes time, so it happens on threads of the package's own.
    """
    check_event_loop()
    call = _Call()
    try:
        with closed_at_exit():
            with inside_a_call():
                scorer = find_scorer()
                submitted = tokenizer_threads.submit(scorer, _size(requests), lambda: call.submit(requests, scorer))
            await result_of(submitted)
        await result_of(call.over())
        return call.results()
    except BaseException:
        call.give_up()
        raise
    finally:
        call.let_go()


class _Call:
    """The futures of a call. One thread submits; another may give up meanwhile, as a cancelled task does that no longer
    waits for that thread.
    """

    def __init__(self) -> None:
        self._futures: list[Future[Scores]] = []
        self._given_up = threading.Event()

    @inside_a_call()
    def submit(self, requests: Sequence[RerankRequest], scorer: Scorer) -> None:
        for request in requests:
            if self._given_up.is_set():
                return  # so much less to tokenize
            future = scorer.submit(request)
            self._futures.append(future)
            if self._given_up.is_set():  # asked after appending: either this side or the other sees the future
                future.cancel()

    @inside_a_call()
    def over(self) -> Future[None]:
        """Done as soon as every request has its answer, or one of them failed; it then has the same error."""
        over: Future[None] = Future()
        missing = len(self._futures)
        lock = threading.Lock()

        def one_is_done(future: Future[Scores]) -> None:
            nonlocal missing
            with lock:
                missing -= 1
                if over.done():
                    return
                if future.cancelled():
                    over.cancel()
                    over.set_running_or_notify_cancel()
                elif error := future.exception():
                    over.set_exception(error)
                elif not missing:
                    over.set_result(None)

        if not missing:
            over.set_result(None)
        for future in self._futures:
            future.add_done_callback(one_is_done)
        return over

    def results(self) -> list[Scores]:
        """The answers in the order of the requests, waited for in turn; the first failure is raised."""
        return list(map(Future.result, self._futures))  # a comprehension's frame would keep the futures, see `let_go`

    @inside_a_call()
    def give_up(self) -> None:
        """Drop what has not run yet, and what is still to be submitted."""
        self._given_up.set()
        for future in self._futures:
            future.cancel()

    def let_go(self) -> None:
        """Of the futures: they hold their error, and the error the frames that know this call; only the garbage
        collector would find the circle, hours later.
        """
        self._futures = []


def _size(requests: Sequence[RerankRequest]) -> int:
    """Characters to tokenize."""
    return sum(len(request.query) + sum(map(len, request.documents)) for request in requests)
