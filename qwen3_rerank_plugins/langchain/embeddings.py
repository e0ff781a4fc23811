"""LangChain embeddings for the first stage, on top of the package `embedding`."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings
from pydantic import Field

from qwen3_rerank_plugins.embedding.fields import EmbeddingFields
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions


class Qwen3Embeddings(EmbeddingFields, Embeddings):
    """Qwen3-Embedding for vector stores: documents without a prompt, queries with an instruction.

    The settings are the fields, with the same names as everywhere in this package. Creating an instance loads nothing,
    equal settings share one loaded model, and one instance may serve any number of stores, threads and event loops at
    once.

    Raises:
        RerankError: a text is not a string, the checkpoint cannot be used, or the model gave no usable vector.
    """

    batch_size: int = Field(default=32, description="Texts in one forward pass.")
    show_progress: bool = Field(default=False, description="Draw a progress bar over the batches of a call.")

    @property
    def _embedding_options(self) -> EmbeddingOptions:
        return EmbeddingOptions(self.max_length, self.truncate_dim, self.batch_size, self.show_progress)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector per text, in order; documents get no prompt."""
        return self._embed(self._documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """Return the unit vector of a query, which is read with the instruction."""
        return self._embed(self._queries([text]))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop; canceling the task drops texts that have not run yet."""
        return await self._aembed(self._documents(texts))

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        return (await self._aembed(self._queries([text])))[0]
