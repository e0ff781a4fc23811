"""Submit the requests of one call together. If one fails or the caller gives up, the others are canceled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.concurrency.awaiting import check_event_loop, result_of
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, inside_a_call
from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import tokenizer_threads
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores

Futures = list[Future[Scores]]


def submit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """Return the scores of all requests, in their order.

    Raises:
        Exception: the first failure. Requests that have not run yet are then canceled.
    """
    futures: Futures = []
    with inside_a_call():
        try:
            scorer = find_scorer()
            for request in requests:
                futures.append(scorer.submit(request))  # after a failure, the others are canceled
            return list(map(Future.result, futures))  # a comprehension's frame would keep the futures
        except BaseException:  # also an interrupt: nobody will read the other results
            _cancel(futures)
            raise
        finally:
            futures.clear()  # see `_Call.forget`


async def asubmit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """`submit_all` without blocking the event loop of asyncio or trio. Canceling the task drops what has not run yet.

    Tokenizing takes time, so it happens on threads of this package.
    """
    check_event_loop()
    call = _Call()
    try:
        with closed_at_exit():
            with inside_a_call():
                scorer = find_scorer()
                submitted = tokenizer_threads.submit(scorer, _size(requests), lambda: call.submit(requests, scorer))
            await result_of(submitted)
        await result_of(call.finished())
        return list(map(Future.result, call.futures))
    except BaseException:
        call.give_up()
        raise
    finally:
        call.forget()


class _Call:
    """The futures of an asynchronous call. A tokenizer thread submits, and the canceled task may give up meanwhile."""

    def __init__(self) -> None:
        self.futures: Futures = []
        self._given_up = threading.Event()

    @inside_a_call()
    def submit(self, requests: Sequence[RerankRequest], scorer: Scorer) -> None:
        for request in requests:
            if self._given_up.is_set():
                return
            future = scorer.submit(request)
            self.futures.append(future)
            if self._given_up.is_set():  # checked after appending, so that one of the two threads sees the future
                future.cancel()

    @inside_a_call()
    def finished(self) -> Future[None]:
        """Return a future that is done once every request has its scores, or that fails with the first failure."""
        finished: Future[None] = Future()
        missing = len(self.futures)
        lock = threading.Lock()

        def count(future: Future[Scores]) -> None:
            nonlocal missing
            with lock:
                missing -= 1
                if finished.done():
                    return
                if future.cancelled():
                    finished.cancel()
                    finished.set_running_or_notify_cancel()
                elif error := future.exception():
                    finished.set_exception(error)
                elif not missing:
                    finished.set_result(None)

        if not missing:
            finished.set_result(None)
        for future in self.futures:
            future.add_done_callback(count)
        return finished

    @inside_a_call()
    def give_up(self) -> None:
        """Cancel the requests that have not run yet, and submit no more."""
        self._given_up.set()
        _cancel(self.futures)

    def forget(self) -> None:
        """Drop the futures. They hold their error, whose traceback holds the frames that know this call: a reference
        cycle that only the garbage collector would find, perhaps hours later.
        """
        self.futures.clear()


def _cancel(futures: Futures) -> None:
    for future in futures:
        future.cancel()


def _size(requests: Sequence[RerankRequest]) -> int:
    """The characters to tokenize."""
    return sum(len(request.query) + sum(map(len, request.documents)) for request in requests)
