"""A LlamaIndex embedding for the first stage, on top of the package `embedding`; LlamaIndex makes the batches."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import Field, model_validator

from qwen3_rerank_plugins.embedding.fields import EmbeddingFields
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions
from qwen3_rerank_plugins.embedding.settings import DEFAULT_EMBEDDING_MODEL
from qwen3_rerank_plugins.errors import SettingsError


class Qwen3Embedding(EmbeddingFields, BaseEmbedding):
    """Qwen3-Embedding for indices: nodes without a prompt, queries with an instruction.

    The settings are the fields, with the same names as everywhere in this package. LlamaIndex's `embed_batch_size` is
    also the number of texts in one forward pass. Creating an instance loads nothing, equal settings share one loaded
    model, and one instance may serve any number of indices, threads and event loops at once.

    Raises:
        RerankError: a text is not a string, the checkpoint cannot be used, or the model gave no usable vector.
    """

    model_name: str = Field(
        default=DEFAULT_EMBEDDING_MODEL, exclude=True, repr=False, description="LlamaIndex's name for `model`."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "Qwen3Embedding"

    @model_validator(mode="before")
    @classmethod
    def _merge_model_names(cls, values: Any) -> Any:
        """Accept `model_name` for `model`, and drop `class_name`, which LlamaIndex adds to every dump."""
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if name not in ("class_name", "model_name")}
        model_name = values.get("model_name", given.get("model", DEFAULT_EMBEDDING_MODEL))
        if given.setdefault("model", model_name) != model_name:
            raise SettingsError(f"model_name={model_name!r} contradicts model={given['model']!r}; pass only one.")
        return given | {"model_name": model_name}

    @property
    def _embedding_options(self) -> EmbeddingOptions:
        return EmbeddingOptions(self.max_length, self.truncate_dim, self.embed_batch_size)

    def to_payload(self) -> dict[str, Any]:
        """Return what LlamaIndex's events show, with the current `model`, which may have been assigned."""
        return super().to_payload() | {"model_name": self.model}

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        del state["__dict__"]["model_name"]  # it would contradict a `model` that was assigned
        return state

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed(self._queries([query]))[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._aembed(self._queries([query])))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed(self._documents(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._aembed(self._documents(texts))
