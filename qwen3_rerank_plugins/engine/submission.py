"""Submit the requests of one call and wait for them. If one fails or the caller gives up, cancel those not yet run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.concurrency.awaiting import check_event_loop, result_of
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, inside_a_call
from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import lanes
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores


def submit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """Return the scores of all requests, or raise the first failure and cancel requests that have not run."""
    call = _Call()
    with inside_a_call():
        try:
            call.submit(requests, find_scorer())
            return call.results()
        except BaseException:  # also an interrupt: nothing will read the other results
            call.cancel()
            raise
        finally:
            call.drop_futures()


async def asubmit_all(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """Do what `submit_all` does without blocking the event loop of asyncio or trio.

    Canceling the task cancels requests that have not run. Tokenizing takes time, so it runs on the package's threads.
    """
    check_event_loop()
    call = _Call()
    try:
        with closed_at_exit():
            with inside_a_call():
                scorer = find_scorer()
                characters = sum(len(request.query) + sum(map(len, request.documents)) for request in requests)
                submitted = lanes.submit(scorer, characters, lambda: call.submit(requests, scorer))
            await result_of(submitted)
        await result_of(call.finished())
        return call.results()
    except BaseException:
        call.cancel()
        raise
    finally:
        call.drop_futures()


class _Call:
    """The futures of one call. One thread submits requests; another may cancel meanwhile, as a canceled task does
    without waiting for the submitting thread.
    """

    def __init__(self) -> None:
        self._futures: list[Future[Scores]] = []
        self._canceled = threading.Event()

    @inside_a_call()
    def submit(self, requests: Sequence[RerankRequest], scorer: Scorer) -> None:
        for request in requests:
            if self._canceled.is_set():
                return  # before the next request is tokenized
            future = scorer.submit(request)
            self._futures.append(future)
            if self._canceled.is_set():  # checked after appending, so that this thread or `cancel` sees the future
                future.cancel()

    @inside_a_call()
    def finished(self) -> Future[None]:
        """Return a future that is done once all requests succeeded or one failed; in that case it has its error."""
        finished: Future[None] = Future()
        missing = len(self._futures)
        lock = threading.Lock()

        def one_is_done(future: Future[Scores]) -> None:
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
        for future in self._futures:
            future.add_done_callback(one_is_done)
        return finished

    def results(self) -> list[Scores]:
        """Wait for the scores in the order of the requests; the first failure is raised."""
        return list(map(Future.result, self._futures))  # a comprehension's frame would keep the futures alive

    @inside_a_call()
    def cancel(self) -> None:
        """Cancel requests that have not run, and those not submitted yet."""
        self._canceled.set()
        for future in self._futures:
            future.cancel()

    def drop_futures(self) -> None:
        """Break a reference cycle: a future holds its error, and the error's frames hold this call. Otherwise memory
        would stay in use until the garbage collector finds the cycle.
        """
        self._futures = []
