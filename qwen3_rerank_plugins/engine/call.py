"""The requests of one call on their way: all of them answered, or none of them runs for nobody.

Comes in: requests, and who finds their scorer. Goes out: one `Scores` a request.
Must not know: which scorer it is, what the scores are for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.lifetime import closed_at_exit, inside_a_call
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores


def ask(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """All answers, or the first failure; whatever then still waits is dropped."""
    call = _Call()
    with inside_a_call():
        try:
            call.submit(requests, find_scorer)
            return call.results()
        except BaseException:  # an interrupt as well: nobody will read the other results
            call.give_up()
            raise
        finally:
            call.let_go()


async def aask(requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> list[Scores]:
    """`ask` without blocking the event loop; cancelling the task drops what has not run yet."""
    call = _Call()
    try:
        with closed_at_exit():
            await asyncio.to_thread(call.submit, requests, find_scorer)  # tokenising takes time: never on the loop
        return await call.aresults()
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
    def submit(self, requests: Sequence[RerankRequest], find_scorer: Callable[[], Scorer]) -> None:
        scorer = find_scorer()
        for request in requests:
            if self._given_up.is_set():
                return  # so much less to tokenise
            future = scorer.submit(request)
            self._futures.append(future)
            if self._given_up.is_set():  # asked after appending: either this side or the other sees the future
                future.cancel()

    def results(self) -> list[Scores]:
        return list(map(Future.result, self._futures))  # a comprehension's frame would keep the futures, see `let_go`

    async def aresults(self) -> list[Scores]:
        with inside_a_call():
            futures = list(map(asyncio.wrap_future, self._futures))
        return list(await asyncio.gather(*futures))

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
