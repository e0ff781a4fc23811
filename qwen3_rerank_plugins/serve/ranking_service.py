"""What the endpoints share: rank with the one reranker, within the limits of the server, and count.

Each request becomes one call of `arank`, so that the engine merges concurrent requests into batches.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3_rerank_plugins._options import UNSET, Unset
from qwen3_rerank_plugins._printable import logger, shown
from qwen3_rerank_plugins.engine.ranking import RankedDocument
from qwen3_rerank_plugins.engine.request import text_of
from qwen3_rerank_plugins.engine.settings import LongDocuments
from qwen3_rerank_plugins.engine.usage import Stats, Usage
from qwen3_rerank_plugins.reranker import Qwen3Reranker
from qwen3_rerank_plugins.serve.document_limit import DocumentLimit
from qwen3_rerank_plugins.serve.failures import Failure
from qwen3_rerank_plugins.serve.metrics import Metrics
from qwen3_rerank_plugins.serve.readiness import Readiness

BLANK = -750.0
"""Stands for the log-odds of a blank document, minus infinity, which JSON cannot hold. Its probability is exactly 0."""
_MOST_NAMES = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """The options of one request.

    Attributes:
        instruction: what relevant means; `UNSET` is the server's.
        top_n: maximum number of documents to return; None returns all.
        min_score: lowest probability to return; None returns all.
        long_documents: how a document that does not fit is treated; `UNSET` is the server's.
        max_tokens_per_doc: tokens of each document to read; None reads as many as fit.
    """

    instruction: str | Unset = UNSET
    top_n: int | None = None
    min_score: float | None = None
    long_documents: LongDocuments | Unset = UNSET
    max_tokens_per_doc: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RankedRequest:
    """The result of one request.

    Attributes:
        documents: best first, with the texts as they were sent.
        usage: what the request cost.
    """

    documents: Sequence[RankedDocument]
    usage: Usage

    @property
    def tokens(self) -> int:
        """The tokens of all prompts, each with its template and query; 0 if the engine does not say."""
        return self.usage.naive_tokens or 0


class RankingService:
    """Ranks the documents of requests.

    Args:
        reranker: that all requests share.
        name: of the model in answers.
        max_documents: of one request.
        readiness: of the model.
        metrics: that count what was done.
    """

    def __init__(
        self, reranker: Qwen3Reranker, name: str, max_documents: int, readiness: Readiness, metrics: Metrics
    ) -> None:
        self.name = name
        self.max_documents = max_documents
        self.readiness = readiness
        self.metrics = metrics
        self._reranker = reranker
        self._limit = DocumentLimit(reranker.settings)
        self._names = {name}

    async def rank(
        self, query: str, documents: Sequence[str | Mapping[str, Any]], options: RankOptions
    ) -> RankedRequest:
        """Rank the documents of one request.

        Raises:
            Failure: there are too many documents, or the model is not loaded.
            RerankError: as `Qwen3Reranker.arank`.
        """
        self.readiness.check()
        self.check_count(len(documents))
        texts = [text_of(f"documents[{index}]", document) for index, document in enumerate(documents)]
        read, cut = texts, (0,) * len(texts)
        self.metrics.began()
        try:
            if options.max_tokens_per_doc is not None:
                kept = await asyncio.to_thread(self._limit.cut, texts, options.max_tokens_per_doc)
                read, cut = list(kept.texts), kept.cut_tokens
            ranked = await self._reranker.arank(
                query,
                read,
                instruction=options.instruction,
                top_n=options.top_n,
                min_score=options.min_score,
                long_documents=options.long_documents,
            )
        finally:
            self.metrics.ended()
        found = [
            dataclasses.replace(one, text=texts[one.index], truncated_tokens=one.truncated_tokens + cut[one.index])
            for one in ranked
        ]
        assert ranked.usage is not None  # of every ranking that a reranker returns
        usage = dataclasses.replace(ranked.usage, truncated_tokens=ranked.usage.truncated_tokens + sum(cut))
        self.metrics.scored(usage)
        return RankedRequest(found, usage)

    def stats(self) -> Stats:
        """Return what the engine has done, and what waits in its queue."""
        return self._reranker.stats()

    def check_count(self, count: int) -> None:
        """Raise a failure with status 413 if a request has too many documents."""
        if count > self.max_documents:
            raise Failure(
                413,
                f"{count:,} documents are too many: a request may have {self.max_documents:,}. Send them in several "
                "requests, or have the server started with a higher --max-documents.",
            )

    def note_model(self, asked: str | None) -> None:
        """Log, once for each name, that a client asked for another model than the one that answers."""
        if asked and asked not in self._names and len(self._names) < _MOST_NAMES:
            self._names.add(asked)
            logger.info("A client asked for the model %s. This server answers with %s.", shown(asked), self.name)


def score_of(document: RankedDocument, *, log_odds: bool) -> float:
    """Return the probability of a document, or its log-odds as a number that JSON can hold."""
    return max(document.logit, BLANK) if log_odds else document.score
