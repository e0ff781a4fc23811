"""The demo's engine with passes that a test holds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._registry import acquire
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

LIMIT = 30.0


class HeldEngine:
    """Within this context, a pass of the demo's engine is under way, and passes wait until `release` is called.

    Args:
        settings: of the engine, as for `Qwen3Reranker`.

    Attributes:
        passes: the documents of each pass.
    """

    def __init__(self, **settings: Any) -> None:
        self._reranker = Qwen3Reranker("demo", **settings)
        self._released, self._entered = threading.Event(), threading.Semaphore(0)
        self._futures: list[Future[Scores]] = []
        self.passes: list[int] = []

    def __enter__(self) -> Self:
        self._reranker.warmup()
        scorer = acquire(self._reranker.settings, self._reranker)
        assert isinstance(scorer, LocalScorer)
        self._scorer = scorer
        (self._scheduler,) = scorer._schedulers
        engine = self._scheduler.engine
        assert engine is not None
        self._run = engine.run

        def run(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
            self.passes.append(plan.document_count)
            self._entered.release()
            assert self._released.wait(LIMIT)
            return self._run(requests, plan)

        object.__setattr__(engine, "run", run)
        self.queue_a_request()
        assert self._entered.acquire(timeout=LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        for future in self._futures:
            future.result(LIMIT)
        object.__setattr__(self._scheduler.engine, "run", self._run)
        self._reranker.close()

    def queue_a_request(self) -> None:
        """Queue a request of somebody else."""
        self._futures.append(self._scorer.submit(make_request("another question", ["another text"], None)))

    def release(self) -> None:
        """Let all passes run."""
        self._released.set()
