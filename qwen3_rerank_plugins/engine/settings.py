"""What to load and how to run it: one frozen object, checked when it is made.

Comes in: the user's words. Goes out: `EngineSettings`, the identity of a loaded engine.
Must not know: torch, requests, or what any host framework calls things.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any, Literal, get_args

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.model_name import resolve_model, resolve_path
from qwen3_rerank_plugins.errors import SettingsError

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
AttentionName = Literal["auto", "varlen", "flash_attn", "sdpa"]
Quantization = Literal["int8", "int4", "fp8"]
LongDocuments = Literal["truncate", "error", "windows"]
OnNonfinite = Literal["error", "float32"]
DeviceMap = Literal["auto"]

DEFAULT_MODEL = "Qwen/Qwen3-Reranker-8B"
DEFAULT_MAX_LENGTH = 8192
SHORTEST_MAX_LENGTH = 60
"""The bare template takes 59 tokens with the Qwen3 tokenizer; a shorter `max_length` can never hold a document."""


class Secret(str):
    """A string like any other, except that its repr hides it: some reporters of errors print local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def as_secret(token: str | None) -> str | None:
    """A token as a `Secret`; what is no string is left for the settings to refuse."""
    return Secret(token) if isinstance(token, str) else token


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Everything that decides which engine is loaded; two equal settings share one engine.

    Which model and which cache folder are meant is decided when the settings are made: folders become absolute paths
    without links, so that a later change of the working directory changes nothing.

    Attributes:
        model: hub id, local folder, or "demo" for the bundled demo checkpoint. After construction a `ModelName`.
        revision: branch, tag or commit on the hub.
        device: "auto" (CUDA, then MPS, then CPU) or any torch device, as a string or an object. Only equal words share
            an engine: "cuda" is whichever GPU is current when the model loads, which nobody knows before.
        devices: a whole model on each of these, one engine in front of them; None is one model on `device`.
        device_map: "auto" spreads the layers of one model over all GPUs, for one that is too large for any of them.
        dtype: "auto" is bfloat16 on CUDA with compute capability >= 8.0, float16 on older CUDA and MPS, else float32.
        attention: "auto", torch's "varlen" flash attention, the "flash_attn" package, or "sdpa".
        quantization: None, "int8" or "int4" (extra "quantization"), or "fp8" (extra "fp8"): how the weights of the
            decoder layers are stored. Embeddings and the yes/no rows are never quantised.
        max_batch_tokens: unique tokens in one forward pass; "auto" derives it from free memory.
        threads: of the CPU, for each model that runs on it; "auto" goes by the cores, the quota and the affinity of
            this process, and by the size of the model. On a GPU they make no difference once the model is loaded.
        compile: compile the token-wise half-layers with torch.compile; costs a minute at the first call.
        cache_dir: hub cache folder; None is the hub's own default.
        local_files_only: never touch the network.
        token: hub access token; never shown, compared, pickled or logged.
        trust_remote_code: let transformers run code from the checkpoint; no Qwen3-Reranker needs it.

    Raises:
        SettingsError: a value is outside of what is listed here.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    devices: tuple[str, ...] | None = None
    device_map: DeviceMap | None = None
    dtype: Dtype = "auto"
    attention: AttentionName = "auto"
    quantization: Quantization | None = None
    max_batch_tokens: int | Literal["auto"] = "auto"
    threads: int | Literal["auto"] = "auto"
    compile: bool = False
    cache_dir: str | None = None
    local_files_only: bool = False
    token: str | None = dataclasses.field(default=None, repr=False, compare=False)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        make_plain(self, but=("model", "cache_dir"))
        object.__setattr__(self, "model", resolve_model(self.model))
        object.__setattr__(self, "device", device_name(self.device))
        if not isinstance(self.device, str) or not self.device:
            raise SettingsError(f"device must be a non-empty string, got {self.device!r}.")
        if isinstance(self.cache_dir, (str, os.PathLike)):
            object.__setattr__(self, "cache_dir", resolve_path("cache_dir", plain.text(self.cache_dir)))
        for name in ("revision", "cache_dir", "token"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise SettingsError(f"{name} must be a string or None, got {type(getattr(self, name)).__name__}.")
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise SettingsError(  # the client that sends it would refuse it too, and quote it
                "token must be None or one run of visible ASCII characters. A file that is read whole ends with a line "
                "break: strip it."
            )
        object.__setattr__(self, "token", as_secret(self.token))
        self._check_devices()
        one_of("dtype", self.dtype, get_args(Dtype))
        one_of("attention", self.attention, get_args(AttentionName))
        if self.quantization is not None:
            one_of("quantization", self.quantization, get_args(Quantization))
        if not isinstance(self.max_batch_tokens, str) or self.max_batch_tokens != "auto":
            object.__setattr__(self, "max_batch_tokens", positive_int("max_batch_tokens", self.max_batch_tokens))
        if not isinstance(self.threads, str) or self.threads != "auto":
            object.__setattr__(self, "threads", positive_int("threads", self.threads))
        for name in ("compile", "local_files_only", "trust_remote_code"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} must be True or False, got {getattr(self, name)!r}.")

    def _check_devices(self) -> None:
        if self.devices is not None:
            names = device_names(self.devices)
            object.__setattr__(self, "devices", names)
            if self.device != "auto":
                raise SettingsError(
                    f"device={self.device!r} and devices={list(names)!r} contradict each other: one says where a "
                    "single model runs, the other where several do. Pass only one."
                )
        if self.device_map is None:
            return
        one_of("device_map", self.device_map, get_args(DeviceMap))
        if self.devices is not None:
            raise SettingsError(
                "devices and device_map contradict each other: devices puts a whole model on each device, device_map "
                "spreads one model over all of them. Pass devices if the model fits on one, else device_map."
            )
        if self.device != "auto":
            raise SettingsError(
                f"device={self.device!r} and device_map={self.device_map!r} contradict each other: device_map takes "
                "every GPU that this process sees. Drop device; CUDA_VISIBLE_DEVICES says which GPUs are seen."
            )
        for name in ("quantization", "compile"):
            if getattr(self, name):
                raise SettingsError(
                    f"{name}={getattr(self, name)!r} needs the whole model on one device, and device_map="
                    f"{self.device_map!r} spreads it over several. Drop one of the two."
                )

    @property
    def replicas(self) -> tuple[EngineSettings, ...]:
        """The settings of each model that is loaded for these: one a device, or just these."""
        if self.devices is None:
            return (self,)
        return tuple(dataclasses.replace(self, device=device, devices=None) for device in self.devices)

    @property
    def cache_key(self) -> EngineSettings:
        """These settings: two spellings of one folder became equal when they were made."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "token": None}


def device_name(device: Any) -> Any:
    """A device as a string: `torch.device` objects by their name, without importing torch; what is neither stays."""
    if isinstance(device, str):
        return device.strip()
    kind = type(device)
    return str(device) if (kind.__module__, kind.__name__) == ("torch", "device") else device


def device_names(devices: object) -> tuple[str, ...]:
    """Names of devices, one or more, each said in so many words."""
    names = tuple(map(device_name, devices)) if isinstance(devices, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) and name for name in names) or "auto" in names:
        raise SettingsError(
            'devices must be None or name each device, such as ["cuda:0", "cuda:1"]; '
            f"got {devices!r}. For one device there is device."
        )
    return names


def make_plain(settings: Any, but: tuple[str, ...] = ()) -> None:
    """Replace the values of a frozen dataclass by the plain Python values that they equal; see `plain`.

    Args:
        settings: the dataclass, still in its `__post_init__`.
        but: names of the fields that are resolved in another way.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in but and not isinstance(value, Secret):
            object.__setattr__(settings, field.name, plain.plain(value))


def positive_int(name: str, value: object) -> int:
    """The number as an `int`, if it is positive and whole; `True` is not a number here."""
    found = plain.whole(value)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise SettingsError(f"{name} must be a positive whole number, got {value!r}.")
    return found


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> Any:
    """The word as a `str`, if it is among those allowed."""
    found = plain.text(value)
    if not isinstance(found, str) or found not in allowed:
        raise SettingsError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")
    return found
