"""Scores of pairs for whatever in LangChain takes a cross-encoder.

Comes in: (query, document) pairs of texts. Goes out: one probability a pair, in their order.
Must not know: documents, engines. It translates; `Qwen3Reranker` decides.
"""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.cross_encoders import BaseCrossEncoder

from qwen3_rerank_plugins.fields import ScoringFields


class Qwen3CrossEncoder(ScoringFields, BaseCrossEncoder):
    """Qwen3-Reranker for LangChain's own `CrossEncoderReranker`, and for programs that score pairs.

    The settings are the fields of `ScoringFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of threads at once. What keeps
    the best, and how many, is the business of whoever asks.

    Raises:
        RerankError: as `Qwen3Reranker.score`.
    """

    def score(self, text_pairs: Iterable[tuple[str, str]]) -> list[float]:
        """Probability in [0, 1] that the document of each pair meets its query; pairs of one query share its prefix.

        Args:
            text_pairs: of any queries, in any order; none give none.
        """
        return self._reranker.score(text_pairs, **self._options)

    async def ascore(self, text_pairs: Iterable[tuple[str, str]]) -> list[float]:
        """`score` without blocking the event loop."""
        return await self._reranker.ascore(text_pairs, **self._options)
