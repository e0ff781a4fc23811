"""A cross-encoder that scores pairs for LangChain and for the tools of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.cross_encoders import BaseCrossEncoder

from qwen3_rerank_plugins._cross_encoder import Predictions
from qwen3_rerank_plugins._fields import ScoringFields
from qwen3_rerank_plugins.engine.request import AnyText, Instruction


class Qwen3CrossEncoder(ScoringFields, Predictions, BaseCrossEncoder):
    """Qwen3-Reranker for LangChain's `CrossEncoderReranker`, and for programs that score pairs.

    The settings are the fields of `ScoringFields`, with the same names as everywhere in this package. Creating an
    instance loads nothing, equal settings share one loaded model, and one instance may serve any number of threads at
    once. The caller decides which documents to keep.

    `predict` and `rank` work as in sentence-transformers' `CrossEncoder`, for its evaluators and for
    `mine_hard_negatives`.

    Raises:
        RerankError: as `Qwen3Reranker.score`.
    """

    def score(self, text_pairs: Iterable[tuple[str, AnyText]]) -> list[float]:
        """Return the probability in [0, 1] that the document of each pair meets its query.

        Args:
            text_pairs: (query, document) pairs in any order; pairs of one query share its prefix. An empty list gives
                an empty list.
        """
        return self._reranker.score(text_pairs, **self._options)

    async def ascore(self, text_pairs: Iterable[tuple[str, AnyText]]) -> list[float]:
        """`score` without blocking the event loop."""
        return await self._reranker.ascore(text_pairs, **self._options)

    @property
    def _own_instruction(self) -> Instruction | None:
        return self.instruction
