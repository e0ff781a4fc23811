"""The settings as flat pydantic fields, in the same words for every host framework.

Comes in: what a user gave an adapter. Goes out: the `Qwen3Reranker` behind it.
Must not know: documents, nodes, or any host. Pydantic comes with the hosts; plain Python users never import this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.model_name import ModelName, resolve_model, resolve_path
from qwen3_rerank_plugins.engine.request import check_instruction
from qwen3_rerank_plugins.engine.settings import (
    DEFAULT_MODEL,
    AttentionName,
    DeviceMap,
    Dtype,
    LongDocuments,
    OnNonfinite,
    Quantization,
    Secret,
    as_secret,
    device_name,
)
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.settings import (
    DEFAULT_TIMEOUT,
    ProtocolName,
    ServerScores,
    Template,
    hidden_url,
    remote_options,
)
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_ENGINE_FIELDS = (
    "model",
    "revision",
    "device",
    "devices",
    "device_map",
    "dtype",
    "attention",
    "quantization",
    "max_batch_tokens",
    "threads",
    "compile",
    "cache_dir",
    "local_files_only",
    "trust_remote_code",
)
_READING_FIELDS = ("max_length", "long_documents", "on_nonfinite")
_CALL_FIELDS = ("instruction", "top_n", "min_score")
"""Of one call: those that an adapter has go before a ready reranker's own."""
_PLACES = ("model", "cache_dir")
"""What the settings resolve."""
_SECRETS = ("token", "api_key")
DeviceName = Annotated[str, BeforeValidator(device_name)]
_NUMBERS: dict[Any, Callable[[Any], Any]] = {
    int: plain.whole,
    int | None: plain.whole,
    int | Literal["auto"]: plain.whole,
    float: plain.number,
    float | None: plain.number,
}
"""Annotation of a field -> how its values are read."""


def _keep_resolved_name(value: Any, check: Callable[[Any], Any]) -> Any:
    """Pydantic would make a plain string of a `ModelName`, which might then mean another model."""
    return value if isinstance(value, ModelName) else check(value)


if TYPE_CHECKING:  # type checkers take the type of a field for that of its argument, so these say what may be passed
    import torch

    ModelField = str | Path
    FolderField = str | Path | None
    DeviceField = str | torch.device
    DevicesField = Sequence[str | torch.device] | None
    SecretField = SecretStr | str | None
else:  # what a field holds
    ModelField = Annotated[str, WrapValidator(_keep_resolved_name)]
    FolderField = str | None
    DeviceField = DeviceName
    DevicesField = tuple[DeviceName, ...] | None
    SecretField = SecretStr | None


class CheckpointFields(BaseModel):  # noqa: PLW1641  unhashable, as every mutable pydantic model
    """Which checkpoint, and where it runs: the words of every adapter. The token is in no dump, pickle or text."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,  # pydantic would print the token along with whatever else was passed
    )

    model: ModelField = Field(description="Hub id or local folder.")
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    device: DeviceField = Field(
        default="auto", description='"auto" (CUDA, then MPS, then CPU) or a torch device, as a string or an object.'
    )
    threads: int | Literal["auto"] = Field(
        default="auto",
        description="Threads of the CPU, for a model that runs on it; by cores, quota and size of the model, unless "
        "said otherwise.",
    )
    dtype: Dtype = Field(
        default="auto", description="bfloat16 or float16 on a GPU, float32 on the CPU, unless said otherwise."
    )
    cache_dir: FolderField = Field(default=None, description="Hub cache folder.")
    local_files_only: bool = Field(default=False, description="Never touch the network.")
    token: SecretField = Field(
        default=None, exclude=True, repr=False, description="Hub access token; never serialised."
    )
    trust_remote_code: bool = Field(default=False, description="Let transformers run code from the checkpoint.")

    @model_validator(mode="before")
    @classmethod
    def _make_plain(cls, values: Any) -> Any:
        """Numbers, text and paths of other libraries become Python's own before pydantic judges them."""
        return {name: _plain(name, value) for name, value in values.items()} if isinstance(values, dict) else values

    @field_validator("*", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Every number in the words of the facade; pydantic alone would take True for 1."""
        read = _NUMBERS.get(cls.model_fields[str(info.field_name)].annotation)
        found = read(value) if read else value
        if read and (isinstance(found, bool) or not isinstance(found, (int, float, str, type(None)))):
            raise SettingsError(f"{info.field_name} must be a number, got {value!r}.")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        """An assigned value is made plain as well; it takes effect at the next call."""
        super().__setattr__(name, _plain(name, value) if name in type(self).model_fields else value)

    def __eq__(self, other: object) -> bool:
        """Equal settings: the fields that are written to JSON. Secrets and callbacks are not compared."""
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name)
            for name, field in type(self).model_fields.items()
            if not field.exclude
        )

    def __getstate__(self) -> dict[Any, Any]:
        """No token in a pickle. The state is a copy's: LlamaIndex deletes from it what it cannot pickle."""
        return super(CheckpointFields, self.model_copy(update={"token": None})).__getstate__()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The model, and whatever differs from its default."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            if name == "model" or (field and field.default_factory is None and value != field.default):
                yield name, value


class ScoringFields(CheckpointFields):
    """Mixin for adapters that score and keep all: one field a setting, and the reranker they describe.

    A ready `reranker=` may be passed instead of engine settings; its settings then fill the fields, so that the adapter
    still serialises to something that can be loaded elsewhere. An instruction that is passed along with it, None
    included, goes before its own. Everything serialises, except an instruction that is a function: that is an error of
    whoever writes JSON, and pickles as its function does.
    """

    model: ModelField = Field(
        default=DEFAULT_MODEL, description='Hub id, local folder, or "demo" for the bundled demo checkpoint.'
    )
    devices: DevicesField = Field(
        default=None, description="Torch devices, instead of device: a whole model on each of them."
    )
    device_map: DeviceMap | None = Field(
        default=None, description='"auto" spreads the layers of a model that is too large for one GPU over all of them.'
    )
    attention: AttentionName = Field(
        default="auto", description="Flash attention wherever it can run, unless said otherwise."
    )
    quantization: Quantization | None = Field(
        default=None, description="int8, int4 or fp8 weights in the decoder layers; None keeps them as they are."
    )
    instruction: str | SkipJsonSchema[Callable[[str], str | None]] | None = Field(
        default=None,
        description="What relevant means for this task, in English, or a function of the query that says so; None is "
        "the model card's.",
    )
    max_length: int | None = Field(
        default=None,
        description="Tokens of a whole prompt; None is 8,192, or the model's own limit if that is lower. Only "
        "documents are ever cut.",
    )
    long_documents: LongDocuments = Field(
        default="truncate", description="A document that does not fit is cut, an error, or read in windows."
    )
    on_nonfinite: OnNonfinite = Field(
        default="error", description="A score that overflows in 16 bits is an error, or computed again in float32."
    )
    max_batch_tokens: int | Literal["auto"] = Field(default="auto", description="Unique tokens in one forward pass.")
    compile: bool = Field(default=False, description="Compile the layers with torch.compile; worth it for servers.")
    remote: Annotated[str | None, AfterValidator(hidden_url)] = Field(
        default=None, description="URL of a server that runs the model instead of this process."
    )
    protocol: ProtocolName = Field(default="auto", description='What the server speaks; "auto" asks what it is.')
    template: Template | None = Field(
        default=None, description='Who applies the prompt template, "server" or "client"; needed with remote.'
    )
    scores: ServerScores = Field(default="auto", description="What the server's numbers are.")
    probe: bool = Field(default=True, description="Refuse a server that answers known questions as if misconfigured.")
    timeout: float = Field(default=DEFAULT_TIMEOUT, description="Seconds that one request to the server may take.")
    api_key: SecretField = Field(default=None, exclude=True, repr=False, description="Of the server; never serialised.")
    reranker: SkipJsonSchema[Qwen3Reranker | None] = Field(
        default=None, exclude=True, repr=False, description="A ready reranker, instead of engine settings."
    )

    _made: Qwen3Reranker | None = PrivateAttr(None)

    def __init__(self, **fields: Any) -> None:
        """Pydantic reports what is wrong from below a call that has all the fields in a local variable."""
        fields.update({name: SecretStr(fields[name]) for name in _SECRETS if isinstance(fields.get(name), str)})
        if "remote" in fields:
            fields["remote"] = hidden_url(fields["remote"])
        super().__init__(**fields)

    def __getstate__(self) -> dict[Any, Any]:
        """No key in a pickle either."""
        return super(ScoringFields, self.model_copy(update={"api_key": None})).__getstate__()

    @model_validator(mode="before")
    @classmethod
    def _take_over_settings(cls, values: Any) -> Any:
        """Fill the fields from a ready reranker; refuse contradictions."""
        reranker = values.get("reranker") if isinstance(values, dict) else None
        if not isinstance(reranker, Qwen3Reranker):
            return values
        _refuse_contradictions(values, reranker)
        own = {name: getattr(reranker, name) for name in _CALL_FIELDS if name in cls.model_fields}
        return {**{name: value for name, value in own.items() if value is not None}, **values, **_settings(reranker)}

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Cheap and idempotent: nothing is loaded before the first document, and equal settings share one engine."""
        check_instruction(self.instruction)
        self._keep_resolved(self._reranker)
        return self

    @property
    def _reranker(self) -> Qwen3Reranker:
        """The reranker of these fields; made anew after a field was assigned, or changed by `model_copy`."""
        if self.reranker is not None:
            _refuse_contradictions(self.__dict__, self.reranker)
            return self.reranker
        secrets: dict[str, Any] = {name: revealed(getattr(self, name)) for name in _SECRETS}
        if self._made is None or not self._describe(self._made) or _secrets(self._made) != secrets:
            own = {name: getattr(self, name) for name in (*_ENGINE_FIELDS, *_READING_FIELDS, *remote_options(None))}
            self._made = Qwen3Reranker(**own | secrets)
            self._keep_resolved(self._made)
        return self._made

    def _keep_resolved(self, reranker: Qwen3Reranker) -> None:
        """A reranker made for a copy, perhaps in another working directory, must mean the same folders."""
        self.__dict__.update({name: getattr(reranker.settings, name) for name in _PLACES})

    @property
    def _options(self) -> dict[str, Any]:
        """Of the reranker's methods."""
        return {name: getattr(self, name) for name in _CALL_FIELDS if name in type(self).model_fields}

    def _describe(self, reranker: Qwen3Reranker) -> bool:
        return all(_agree(getattr(self, name), value) for name, value in _settings(reranker).items())


class RerankerFields(ScoringFields):
    """The same for adapters that rank: instruction and limits are of a call, and go before a ready reranker's own."""

    top_n: int | None = Field(default=3, ge=0, description="Most documents to return; None returns all.")
    min_score: float | None = Field(default=None, ge=0, le=1, description="Lowest probability to return, inclusive.")


def _plain(name: str, value: Any) -> Any:
    if name in _PLACES and isinstance(value, Path):
        return resolve_path(name, value)
    if name == "device":
        return device_name(value)
    return value if isinstance(value, (Secret, ModelName)) else plain.plain(value)


def _settings(reranker: Qwen3Reranker) -> dict[str, Any]:
    """What a ready reranker decides by itself."""
    engine = {name: getattr(reranker.settings, name) for name in _ENGINE_FIELDS}
    return engine | {name: getattr(reranker, name) for name in _READING_FIELDS} | remote_options(reranker.remote)


def _secrets(reranker: Qwen3Reranker) -> dict[str, str | None]:
    return {"token": reranker.settings.token, "api_key": reranker.remote.api_key if reranker.remote else None}


def revealed(secret: SecretStr | str | None) -> str | None:
    """What a field of a secret holds; a string where it was assigned after the adapter was made."""
    return as_secret(secret.get_secret_value() if isinstance(secret, SecretStr) else secret) or None


def _agree_on_place(name: str, given: Any, own: Any) -> bool:
    """Whether a word of a user means the model or the folder that a setting means."""
    if given == own or given is None:
        return bool(given == own)
    return bool((resolve_model(given) if name == "model" else resolve_path(name, given)) == own)


def _agree(given: Any, own: Any) -> bool:
    """Whether a field says the same as a setting, which keeps devices as names, and several of them as a tuple."""
    return bool((tuple(map(device_name, given)) if isinstance(given, (list, tuple)) else device_name(given)) == own)


def _refuse_contradictions(values: dict[str, Any], reranker: Qwen3Reranker) -> None:
    for name, value in _settings(reranker).items():
        agree = functools.partial(_agree_on_place, name) if name in _PLACES else _agree
        if name in values and not agree(_plain(name, values[name]), value):
            raise SettingsError(
                f"{name}={values[name]!r} contradicts the reranker's own {name}={value!r}; pass only one."
            )
