"""The settings every adapter shares as pydantic fields: which checkpoint to load, and where it runs.

Separate from `_fields`, because the embedding adapters have these settings and no reranker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.model_name import ModelName, resolve_path
from qwen3_rerank_plugins.engine.settings import Dtype, Secret, as_secret, device_name
from qwen3_rerank_plugins.errors import SettingsError

PATHS = ("model", "cache_dir")
"""Fields whose values the settings resolve to absolute paths."""
DeviceName = Annotated[str, BeforeValidator(device_name)]
_NUMBERS: dict[Any, Callable[[Any], Any]] = {
    int: plain.whole,
    int | None: plain.whole,
    int | Literal["auto"]: plain.whole,
    int | Literal["auto"] | None: plain.whole,
    float: plain.number,
    float | None: plain.number,
}
"""How to read the values of a field, by its annotation."""


def _keep_resolved_name(value: Any, check: Callable[[Any], Any]) -> Any:
    """Pydantic would turn a `ModelName` into a plain string, which might then mean another model."""
    return value if isinstance(value, ModelName) else check(value)


if TYPE_CHECKING:  # type checkers use a field's type as its argument's type, so these types say what may be passed
    import torch

    ModelField = str | Path
    FolderField = str | Path | None
    DeviceField = str | torch.device
    DevicesField = Sequence[str | torch.device] | None
    SecretField = SecretStr | str | None
else:  # the types of the stored values
    ModelField = Annotated[str, WrapValidator(_keep_resolved_name)]
    FolderField = str | None
    DeviceField = DeviceName
    DevicesField = tuple[DeviceName, ...] | None
    SecretField = SecretStr | None


class CheckpointFields(BaseModel):  # noqa: PLW1641  unhashable, as every mutable pydantic model
    """Which checkpoint to load and where it runs. The token is in no dump, pickle or text."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,  # pydantic would print the token with the other arguments
    )

    model: ModelField = Field(description="Hub ID or local folder.")
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    device: DeviceField = Field(
        default="auto", description='"auto" (CUDA, then MPS, then CPU) or a torch device, as a string or an object.'
    )
    threads: int | Literal["auto"] = Field(
        default="auto",
        description='CPU threads of a model on the CPU; "auto" depends on cores, quota and the size of the model.',
    )
    dtype: Dtype = Field(default="auto", description='"auto" is bfloat16 or float16 on a GPU, float32 on the CPU.')
    cache_dir: FolderField = Field(default=None, description="Hub cache folder.")
    local_files_only: bool = Field(default=False, description="Never use the network.")
    token: SecretField = Field(
        default=None, exclude=True, repr=False, description="Hub access token; never serialized."
    )
    trust_remote_code: bool = Field(default=False, description="Let transformers run code from the checkpoint.")

    @model_validator(mode="before")
    @classmethod
    def _make_plain(cls, values: Any) -> Any:
        """Turn numbers, text and paths of other libraries into Python's types before pydantic validates them."""
        return {name: as_plain(name, value) for name, value in values.items()} if isinstance(values, dict) else values

    @field_validator("*", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Read numbers as `Qwen3Reranker` does; pydantic alone would accept True as 1."""
        read = _NUMBERS.get(cls.model_fields[str(info.field_name)].annotation)
        found = read(value) if read else value
        if read and (isinstance(found, bool) or not isinstance(found, (int, float, str, type(None)))):
            raise SettingsError(f"{info.field_name} must be a number, got {value!r}.")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        """Make assigned values plain as well. They take effect at the next call."""
        super().__setattr__(name, as_plain(name, value) if name in type(self).model_fields else value)

    def __eq__(self, other: object) -> bool:
        """Compare the fields that are written to JSON. Secrets and callbacks are not compared."""
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name)
            for name, field in type(self).model_fields.items()
            if not field.exclude
        )

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the token out of pickles. LlamaIndex deletes values from this state, so it is a copy's."""
        return super(CheckpointFields, self.model_copy(update={"token": None})).__getstate__()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show the model and every field that differs from its default."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            if name == "model" or (field and field.default_factory is None and value != field.default):
                yield name, value


def as_plain(name: str, value: Any) -> Any:
    """Return the value of a field as a plain Python value, a device as its name, and a path resolved."""
    if name in PATHS and isinstance(value, Path):
        return resolve_path(name, value)
    if name == "device":
        return device_name(value)
    return value if isinstance(value, (Secret, ModelName)) else plain.plain(value)


def revealed(secret: SecretStr | str | None) -> str | None:
    """Return the string in a secret field, or None. A value assigned later may be a string already."""
    return as_secret(secret.get_secret_value() if isinstance(secret, SecretStr) else secret) or None
