"""The one test double of the suite, at the one seam made for it."""

from __future__ import annotations

from concurrent.futures import Future

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores


class OverlapScorer:
    """Scores a document by the words it shares with the query; remembers every request it was given.

    Args:
        error: raised through the future instead of an answer.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[RerankRequest] = []
        self.closed = False
        self._error = error

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self.requests.append(request)
        future: Future[Scores] = Future()
        if self._error is not None:
            future.set_exception(self._error)
            return future
        words = set(request.query.lower().split())
        shared = [len(words & set(document.lower().split())) - 1.5 for document in request.documents]
        future.set_result(Scores(tuple(shared), (0,) * len(shared)))
        return future

    def warmup(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
