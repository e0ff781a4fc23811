"""The settings that decide which embedding model is loaded, and where."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from qwen3_rerank_plugins.engine.model_name import resolve_model
from qwen3_rerank_plugins.engine.settings import Dtype, EngineSettings, make_plain

DEFAULT_EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-0.6B"
"""The smallest, because a first stage reads every text of a corpus and the reranker corrects the order. The rerankers'
model card measures them with this model as first stage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """Settings of one loaded model, which equal settings share.

    Attributes:
        model: hub ID or local folder.
        revision: branch, tag or commit on the hub.
        device: "auto" (CUDA, then MPS, then CPU) or any torch device, as a string or an object.
        dtype: "auto" is bfloat16 on CUDA with compute capability >= 8.0, float16 on older CUDA and MPS, else float32.
        threads: CPU threads of a model that runs on the CPU, as `EngineSettings.threads`.
        cache_dir: hub cache folder; None is the hub's default.
        local_files_only: never use the network.
        token: hub access token; never shown, compared, pickled or logged.
        trust_remote_code: let transformers run code from the checkpoint; no Qwen3-Embedding needs it.

    Raises:
        SettingsError: a value is not allowed.
    """

    model: str = DEFAULT_EMBEDDING_MODEL
    revision: str | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    threads: int | Literal["auto"] = "auto"
    cache_dir: str | None = None
    local_files_only: bool = False
    token: str | None = dataclasses.field(default=None, repr=False, compare=False)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        make_plain(self, but=("model", "cache_dir"))
        object.__setattr__(self, "model", resolve_model(self.model, bundled=False))
        engine = self.engine  # checks the values
        for name in ("cache_dir", "device", "threads"):
            object.__setattr__(self, name, getattr(engine, name))

    @property
    def engine(self) -> EngineSettings:
        """The same values as `EngineSettings`, so that the engine's rules find the checkpoint and the device."""
        return EngineSettings(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @property
    def cache_key(self) -> EmbeddingSettings:
        """See `EngineSettings.cache_key`."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "token": None}
