"""The reranker's settings as flat pydantic fields, with the same names in every host framework.

Separate from `reranker`, because pydantic loads slowly and plain Python users do not need it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, model_validator
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins._checkpoint_fields import (
    PATHS,
    CheckpointFields,
    DevicesField,
    FolderField,
    ModelField,
    SecretField,
    as_plain,
    revealed,
)
from qwen3_rerank_plugins._fallback import OnFailure
from qwen3_rerank_plugins.engine.call import MaxWaitingTokens
from qwen3_rerank_plugins.engine.model_name import resolve_cache, resolve_model, resolve_path
from qwen3_rerank_plugins.engine.request import check_instruction
from qwen3_rerank_plugins.engine.settings import (
    DEFAULT_CACHE_BYTES,
    DEFAULT_MODEL,
    AttentionName,
    DeviceMap,
    EngineSettings,
    KernelsName,
    LongDocuments,
    OnNonfinite,
    Quantization,
    device_name,
)
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.settings import (
    ProtocolName,
    ServerScores,
    Template,
    hidden_url,
    remote_options,
)
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_SECRETS = ("token", "api_key")
_ENGINE_FIELDS = tuple(field.name for field in dataclasses.fields(EngineSettings) if field.name not in _SECRETS)
_RERANKER_FIELDS = ("max_length", "long_documents", "on_nonfinite", "timeout", "max_waiting_tokens")
_SETTINGS = (*_ENGINE_FIELDS, *_RERANKER_FIELDS, *remote_options(None))
"""Fields that a ready reranker decides."""
_RESOLVERS: dict[str, Callable[[Any], Any]] = {
    "model": resolve_model,
    "cache": resolve_cache,
    "cache_dir": functools.partial(resolve_path, "cache_dir"),
}
_CALL_FIELDS = ("instruction", "top_n", "min_score")
"""Fields that are options of each call. The adapter's values override those of a ready reranker."""


class ScoringFields(CheckpointFields):
    """Mixin for adapters that score every document: one field per setting, and the reranker with these settings.

    A ready `reranker=` may replace the engine settings. Its settings then fill the fields, so that the adapter can be
    serialized and loaded elsewhere. An instruction passed with it, also None, overrides the reranker's. All fields can
    be serialized, except an instruction that is a function: writing it as JSON fails, and it is pickled by reference.
    """

    model: ModelField = Field(
        default=DEFAULT_MODEL, description='Hub ID, local folder, or "demo" for the bundled demo checkpoint.'
    )
    devices: DevicesField = Field(
        default=None, description="Torch devices instead of device; each one gets a whole model."
    )
    device_map: DeviceMap | None = Field(
        default=None, description='"auto" spreads the layers of a model that is too large for one GPU over all GPUs.'
    )
    attention: AttentionName = Field(default="auto", description='"auto" is flash attention wherever it can run.')
    kernels: KernelsName = Field(
        default="auto",
        description='"auto" is fused Triton kernels on CUDA, and the faster products on a CPU; "torch" is plain torch.',
    )
    quantization: Quantization | None = Field(
        default=None, description="int8, int4 or fp8 weights in the decoder layers; None keeps the original weights."
    )
    instruction: str | SkipJsonSchema[Callable[[str], str | None]] | None = Field(
        default=None,
        description="What relevant means for this task, in English, or a function that returns that for a query; None "
        "selects the model card's.",
    )
    max_length: int | None = Field(
        default=None,
        description="Maximum tokens of one prompt; None is 8,192, or the model's limit if that is lower. Only "
        "documents are ever truncated.",
    )
    long_documents: LongDocuments = Field(
        default="truncate", description="How to treat a document that is too long: cut it, fail, or read it in windows."
    )
    on_nonfinite: OnNonfinite = Field(
        default="error", description="How to treat a score that overflows in 16 bits: fail, or recompute it in float32."
    )
    timeout: float | None = Field(
        default=None, description="Maximum seconds of a call, waiting and computing together; None is no limit."
    )
    max_waiting_tokens: MaxWaitingTokens = Field(
        default=None,
        description='Tokens that may wait when a call arrives; "auto" is about 30 seconds of work, None is no limit.',
    )
    max_batch_tokens: int | Literal["auto"] = Field(
        default="auto", description="Maximum unique tokens in one forward pass."
    )
    compile: bool = Field(default=False, description="Compile the layers with torch.compile.")
    cache: FolderField = Field(
        default=None, description='Where scores are kept: None for nowhere, "memory", or the path of an SQLite file.'
    )
    cache_bytes: int = Field(default=DEFAULT_CACHE_BYTES, description="Maximum bytes of the score cache, about.")
    remote: Annotated[str | None, AfterValidator(hidden_url)] = Field(
        default=None, description="URL of a rerank server that runs the model instead of this process."
    )
    protocol: ProtocolName = Field(default="auto", description='Protocol of the server; "auto" detects it.')
    template: Template | None = Field(
        default=None, description='Who applies the prompt template, "server" or "client"; needed with remote.'
    )
    scores: ServerScores = Field(default="auto", description="Whether the server returns probabilities or logits.")
    probe: bool = Field(
        default=True, description="Refuse a server whose answers to known questions show a wrong template."
    )
    api_key: SecretField = Field(
        default=None, exclude=True, repr=False, description="API key of the server; never serialized."
    )
    reranker: SkipJsonSchema[Qwen3Reranker | None] = Field(
        default=None, exclude=True, repr=False, description="A ready reranker, instead of engine settings."
    )

    _made: Qwen3Reranker | None = PrivateAttr(None)
    _made_of: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **fields: Any) -> None:
        """Hide the secrets first: error reports show local variables, and those of pydantic hold all arguments."""
        fields.update({name: SecretStr(fields[name]) for name in _SECRETS if isinstance(fields.get(name), str)})
        if "remote" in fields:
            fields["remote"] = hidden_url(fields["remote"])
        super().__init__(**fields)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the API key out of pickles as well."""
        return super(ScoringFields, self.model_copy(update={"api_key": None})).__getstate__()

    @model_validator(mode="before")
    @classmethod
    def _take_over_settings(cls, values: Any) -> Any:
        """Fill the fields from a ready reranker, and refuse contradictions."""
        reranker = values.get("reranker") if isinstance(values, dict) else None
        if not isinstance(reranker, Qwen3Reranker):
            return values
        _refuse_contradictions(values, reranker)
        own = {name: getattr(reranker, name) for name in _CALL_FIELDS if name in cls.model_fields}
        return {**{name: value for name, value in own.items() if value is not None}, **values, **_settings(reranker)}

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Validate by making the reranker. That is cheap: the model is loaded when the first document arrives."""
        check_instruction(self.instruction)
        _ = self._reranker
        return self

    @property
    def _reranker(self) -> Qwen3Reranker:
        """The reranker with these settings; a new one after a field was assigned or changed by `model_copy`."""
        if self.reranker is not None:
            _refuse_contradictions(self.__dict__, self.reranker)
            return self.reranker
        values = {name: getattr(self, name) for name in _SETTINGS}
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        secrets: dict[str, Any] = {name: revealed(getattr(self, name)) for name in _SECRETS}
        if self._made is None or self._made_of != fields or _secrets(self._made) != secrets:
            self._made = Qwen3Reranker(**fields | secrets)
            # a copy of this adapter, perhaps in another working directory, must mean the same folders
            paths = {name: getattr(self._made.settings, name) for name in PATHS}
            self.__dict__.update(paths)
            self._made_of = fields | paths
        return self._made

    @property
    def _options(self) -> dict[str, Any]:
        """The options of each call of the reranker's methods."""
        return {name: getattr(self, name) for name in _CALL_FIELDS if name in type(self).model_fields}


class RerankerFields(ScoringFields):
    """Mixin for adapters that rank. Their instruction and limits override those of a ready reranker."""

    top_n: int | None = Field(default=3, ge=0, description="Maximum number of documents to return; None returns all.")
    min_score: float | None = Field(default=None, ge=0, le=1, description="Lowest probability to return, inclusive.")
    on_failure: OnFailure = Field(
        default="raise",
        description="While the reranker is slow or down: raise the error, or return the documents in retrieval order, "
        'without scores, and with the reason as "rerank_failure" in their metadata.',
    )


def _settings(reranker: Qwen3Reranker) -> dict[str, Any]:
    """The fields that a ready reranker decides, with its values."""
    engine = {name: getattr(reranker.settings, name) for name in _ENGINE_FIELDS}
    return engine | {name: getattr(reranker, name) for name in _RERANKER_FIELDS} | remote_options(reranker.remote)


def _secrets(reranker: Qwen3Reranker) -> dict[str, str | None]:
    return {"token": reranker.settings.token, "api_key": reranker.remote.api_key if reranker.remote else None}


def _refuse_contradictions(values: dict[str, Any], reranker: Qwen3Reranker) -> None:
    for name, value in _settings(reranker).items():
        if name in values and not _agree(name, as_plain(name, values[name]), value):
            raise SettingsError(
                f"{name}={values[name]!r} contradicts the reranker's own {name}={value!r}; pass only one."
            )


def _agree(name: str, given: Any, setting: Any) -> bool:
    """Whether a field means the same as a setting, which keeps device names, tuples of them and resolved paths."""
    if name in PATHS and given is not None and given != setting:
        given = _RESOLVERS[name](given)
    elif isinstance(given, (list, tuple)):
        given = tuple(map(device_name, given))
    return bool(device_name(given) == setting)
