"""The first stage as LangChain embeddings.

Comes in: texts. Goes out: lists of Python floats, unit vectors.
Must not know: models, prompts, tokens. It translates; the package `embedding` decides.
"""

from __future__ import annotations

from langchain_core.embeddings import Embeddings
from pydantic import Field

from qwen3_rerank_plugins.embedding.fields import EmbeddingFields
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions


class Qwen3Embeddings(EmbeddingFields, Embeddings):
    """Qwen3-Embedding for vector stores: documents as they stand, queries with an instruction.

    The settings are the fields, in the same words as everywhere in this package. Making one loads nothing, equal
    settings share one loaded model, and one instance may serve any number of stores, threads and event loops at once.

    Raises:
        RerankError: a text is not text, the checkpoint cannot be used, or the model gave no usable vector.
    """

    batch_size: int = Field(default=32, description="Texts in one forward pass.")
    show_progress: bool = Field(default=False, description="Draw a progress bar over the batches of a call.")

    @property
    def _reading(self) -> EmbeddingOptions:
        return EmbeddingOptions(self.max_length, self.truncate_dim, self.batch_size, self.show_progress)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, in order; documents take no prompt."""
        return self._embed(self._documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, read with the instruction."""
        return self._embed(self._queries([text]))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop; cancelling the task drops what has not run yet."""
        return await self._aembed(self._documents(texts))

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        return (await self._aembed(self._queries([text])))[0]
