"""The settings of the first stage as flat pydantic fields, in the same words for every host framework.

Comes in: what a user gave an adapter. Goes out: vectors, from the model that everybody with these settings shares.
Must not know: documents, nodes, or any host.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins._checkpoint_fields import CheckpointFields, ModelField, revealed
from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, EmbeddingRequest, make_request, query_prompt
from qwen3_rerank_plugins.embedding.settings import DEFAULT_EMBEDDING_MODEL, EmbeddingSettings

_SETTINGS = ("model", "revision", "device", "dtype", "threads", "cache_dir", "local_files_only", "trust_remote_code")


class EmbeddingFields(CheckpointFields):
    """Mixin for adapters: one field a setting, all serialisable, and the vectors.

    It holds nothing but its fields: the loaded model is looked up at every call, so copies share it, pickles do without
    it, and an assigned value counts from the next call on.
    """

    model: ModelField = Field(default=DEFAULT_EMBEDDING_MODEL, description="Hub id or local folder.")
    instruction: str | None = Field(
        default=None, description="What is looked for in this task, in English; None is the model card's. Queries only."
    )
    truncate_dim: int | None = Field(
        default=None, description="Numbers to keep of each vector, which is made a unit vector again; None keeps all."
    )
    max_length: int | None = Field(
        default=None, description="Tokens of a text with prompt and end token; None is as many as the checkpoint says."
    )

    @model_validator(mode="after")
    def _check_settings(self) -> EmbeddingFields:
        """Cheap and idempotent: nothing is loaded before the first text."""
        _ = self._settings, self._reading
        return self

    @property
    def _settings(self) -> EmbeddingSettings:
        settings = EmbeddingSettings(**{name: getattr(self, name) for name in _SETTINGS}, token=revealed(self.token))
        # so that a later call, perhaps in another working directory, means the same folders
        self.__dict__.update(model=settings.model, cache_dir=settings.cache_dir)
        return settings

    @property
    def _reading(self) -> EmbeddingOptions:
        """Adapters add what their host says of batches and progress."""
        return EmbeddingOptions(self.max_length, self.truncate_dim)

    def _embed(self, request: EmbeddingRequest) -> list[list[float]]:
        return registry.share(self._settings, LocalEmbedder).embed(request)

    async def _aembed(self, request: EmbeddingRequest) -> list[list[float]]:
        return await registry.share(self._settings, LocalEmbedder).aembed(request)

    def _queries(self, texts: Iterable[str]) -> EmbeddingRequest:
        return make_request(texts, self._reading, query_prompt(self.instruction))

    def _documents(self, texts: Iterable[str]) -> EmbeddingRequest:
        return make_request(texts, self._reading)
