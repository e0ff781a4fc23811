"""The settings of the first stage as pydantic fields, with the same names in every adapter."""

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
    """Mixin for adapters: one serializable field per setting, and the methods that compute vectors.

    The loaded model is looked up at every call and not kept here. Copies therefore share it, pickles do not contain it,
    and an assigned value takes effect at the next call.
    """

    model: ModelField = Field(default=DEFAULT_EMBEDDING_MODEL, description="Hub ID or local folder.")
    instruction: str | None = Field(
        default=None, description="What to search for, in English; None is the model card's. For queries only."
    )
    truncate_dim: int | None = Field(
        default=None, description="Numbers to keep of each vector, which is normalized again; None keeps all."
    )
    max_length: int | None = Field(
        default=None, description="Most tokens of a text with prompt and end token; None is the checkpoint's limit."
    )

    @model_validator(mode="after")
    def _check_settings(self) -> EmbeddingFields:
        """Check the settings; this loads nothing, and may run several times."""
        _ = self._settings, self._embedding_options
        return self

    @property
    def _settings(self) -> EmbeddingSettings:
        settings = EmbeddingSettings(**{name: getattr(self, name) for name in _SETTINGS}, token=revealed(self.token))
        # keep the resolved paths, because a later call may run in another working directory
        self.__dict__.update(model=settings.model, cache_dir=settings.cache_dir)
        return settings

    @property
    def _embedding_options(self) -> EmbeddingOptions:
        """The options of a call; adapters add their fields for batches and progress."""
        return EmbeddingOptions(self.max_length, self.truncate_dim)

    def _embed(self, request: EmbeddingRequest) -> list[list[float]]:
        return registry.share(self._settings, LocalEmbedder).embed(request)

    async def _aembed(self, request: EmbeddingRequest) -> list[list[float]]:
        return await registry.share(self._settings, LocalEmbedder).aembed(request)

    def _queries(self, texts: Iterable[str]) -> EmbeddingRequest:
        return make_request(texts, self._embedding_options, query_prompt(self.instruction))

    def _documents(self, texts: Iterable[str]) -> EmbeddingRequest:
        return make_request(texts, self._embedding_options)
