"""Scores of pairs for whatever in LangChain or sentence-transformers takes a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.cross_encoders import BaseCrossEncoder

from qwen3_rerank_plugins._cross_encoder import Predictions
from qwen3_rerank_plugins._fields import ScoringFields
from qwen3_rerank_plugins.engine.request import AnyText, Instruction


class Qwen3CrossEncoder(ScoringFields, Predictions, BaseCrossEncoder):
    """Qwen3-Reranker for LangChain's own `CrossEncoderReranker`, and for programs that score pairs.

    The settings are the fields of `ScoringFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of threads at once. What keeps
    the best, and how many, is the business of whoever asks.

    `predict` and `rank` are those of sentence-transformers' `CrossEncoder`, for its evaluators and for
    `mine_hard_negatives`.

    Raises:
        RerankError: as `Qwen3Reranker.score`.
    """

    def score(self, text_pairs: Iterable[tuple[str, AnyText]]) -> list[float]:
        """Probability in [0, 1] that the document of each pair meets its query; pairs of one query share its prefix.

        Args:
            text_pairs: of any queries, in any order; none give none.
        """
        return self._reranker.score(text_pairs, **self._options)

    async def ascore(self, text_pairs: Iterable[tuple[str, AnyText]]) -> list[float]:
        """`score` without blocking the event loop."""
        return await self._reranker.ascore(text_pairs, **self._options)

    @property
    def _own_instruction(self) -> Instruction | None:
        return self.instruction
