"""Submit the requests of one call together. If one fails, the call is late or the caller gives up, the others are
canceled.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.engine.concurrency.awaiting import check_event_loop, result_of
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, inside_a_call
from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import tokenizer_threads
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores

Futures = list[Future[Scores]]
T = TypeVar("T")


def submit_all(
    requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer], call: Call | None = None
) -> list[Scores]:
    """Return the scores of all requests, in their order.

    Tokenizing may include a download of the tokenizer, so with a timeout it happens on threads of this package. This
    thread then returns in time.

    Args:
        requests: what to score.
        find_scorer: returns the scorer.
        call: the deadline and limits of all requests together; None for none.

    Raises:
        RerankTimeoutError: the call is late. Requests that have not run yet are then canceled.
        Exception: the first failure, with the same consequence.
    """
    call = call or Call()
    submission = _Submission(requests, call)
    with inside_a_call():
        try:
            scorer = find_scorer()
            if call.timeout is None:
                submission.submit(scorer)
            else:
                with closed_at_exit():
                    _wait(submission.start(scorer), call)
            for future in submission.futures:
                _wait(future, call)
            return list(map(Future.result, submission.futures))  # a comprehension's frame would keep the futures
        except BaseException:  # also an interrupt: nobody will read the other results
            submission.give_up()
            raise
        finally:
            future = None  # type: ignore[assignment]
            submission.forget()


async def asubmit_all(
    requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer], call: Call | None = None
) -> list[Scores]:
    """`submit_all` without blocking the event loop of asyncio or trio. Canceling the task drops what has not run yet.

    Tokenizing takes time, so it happens on threads of this package.
    """
    check_event_loop()
    call = call or Call()
    submission = _Submission(requests, call)
    try:
        with closed_at_exit():
            with inside_a_call():
                submitted = submission.start(find_scorer())
            await result_of(submitted, call.seconds_left, call.late_error)
        await result_of(submission.finished(), call.seconds_left, call.late_error)
        return list(map(Future.result, submission.futures))
    except BaseException:
        submission.give_up()
        raise
    finally:
        submission.forget()


class _Submission:
    """The requests of a call and their futures. A tokenizer thread submits, and the caller may give up meanwhile."""

    def __init__(self, requests: Sequence[RerankRequest], call: Call) -> None:
        self.futures: Futures = []
        self._requests = [dataclasses.replace(request, call=call) for request in requests]
        self._call = call
        self._given_up = threading.Event()

    def start(self, scorer: Scorer) -> Future[None]:
        """Submit on a tokenizer thread."""
        return tokenizer_threads.submit(scorer, _size(self._requests), lambda: self.submit(scorer))

    @inside_a_call()
    def submit(self, scorer: Scorer) -> None:
        for request in self._requests:
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
        """Cancel the requests that have not run yet, submit no more, and stop tokenizing."""
        self._given_up.set()
        self._call.give_up()
        for future in list(self.futures):
            future.cancel()

    def forget(self) -> None:
        """Drop the futures. They hold their error, whose traceback holds the frames that know this call: a reference
        cycle that only the garbage collector would find, perhaps hours later.
        """
        self.futures.clear()


def _wait(future: Future[T], call: Call) -> T:
    """Return the result of a future, or raise once the call is late."""
    try:
        if call.timeout is not None and not concurrent.futures.wait([future], call.seconds_left).done:
            raise call.late_error()
        return future.result()
    finally:
        del future  # it refers to its error, whose traceback refers to this frame


def _size(requests: Sequence[RerankRequest]) -> int:
    """The characters to tokenize."""
    return sum(len(request.query) + sum(map(len, request.documents)) for request in requests)
