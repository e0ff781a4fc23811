"""The first stage as a LlamaIndex embedding.

Comes in: texts, in batches that the host makes. Goes out: lists of Python floats, unit vectors.
Must not know: models, prompts, tokens. It translates; the package `embedding` decides, and the host announces.
"""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import Field, model_validator

from qwen3_rerank_plugins.embedding.fields import EmbeddingFields
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions
from qwen3_rerank_plugins.embedding.settings import DEFAULT_EMBEDDING_MODEL
from qwen3_rerank_plugins.errors import SettingsError


class Qwen3Embedding(EmbeddingFields, BaseEmbedding):
    """Qwen3-Embedding for indices: nodes as they stand, queries with an instruction.

    The settings are the fields, in the same words as everywhere in this package, besides the host's own
    `embed_batch_size`, which is also the number of texts in one forward pass. Making one loads nothing, equal settings
    share one loaded model, and one instance may serve any number of indices, threads and event loops at once.

    Raises:
        RerankError: a text is not text, the checkpoint cannot be used, or the model gave no usable vector.
    """

    model_name: str = Field(
        default=DEFAULT_EMBEDDING_MODEL, exclude=True, repr=False, description="The host's word for `model`."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "Qwen3Embedding"

    @model_validator(mode="before")
    @classmethod
    def _use_one_word_for_the_model(cls, values: Any) -> Any:
        """`model_name` does for `model`; `class_name`, which the host adds to every dump, is no option of ours."""
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if name not in ("class_name", "model_name")}
        host_word = values.get("model_name", given.get("model", DEFAULT_EMBEDDING_MODEL))
        if given.setdefault("model", host_word) != host_word:
            raise SettingsError(f"model_name={host_word!r} contradicts model={given['model']!r}; pass only one.")
        return given | {"model_name": host_word}

    @property
    def _reading(self) -> EmbeddingOptions:
        return EmbeddingOptions(self.max_length, self.truncate_dim, self.embed_batch_size)

    def to_payload(self) -> dict[str, Any]:
        """What the host's events say of this embedding; `model` may have been assigned since it was made."""
        return super().to_payload() | {"model_name": self.model}

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        del state["__dict__"]["model_name"]  # `model` may have been assigned, and would contradict it
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
