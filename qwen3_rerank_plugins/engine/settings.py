"""The settings that decide which model is loaded and how it runs: one frozen dataclass, checked on creation."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any, Literal, get_args

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.model_name import resolve_cache, resolve_model, resolve_path
from qwen3_rerank_plugins.errors import SettingsError

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
AttentionName = Literal["auto", "varlen", "flash_attn", "fa3", "fa4", "matmul", "sdpa"]
KernelsName = Literal["auto", "triton", "onednn", "torch"]
Quantization = Literal["int8", "int4", "fp8"]
LongDocuments = Literal["truncate", "error", "windows"]
OnNonfinite = Literal["error", "float32"]
DeviceMap = Literal["auto"]

DEFAULT_MODEL = "Qwen/Qwen3-Reranker-8B"
DEFAULT_MAX_LENGTH = 8192
DEFAULT_CACHE_BYTES = 256 * 2**20
SMALLEST_CACHE_BYTES = 2**16
SHORTEST_MAX_LENGTH = 60
"""Tokens. The template alone takes 59 with the Qwen3 tokenizer, so a lower `max_length` can never fit a document."""


class Secret(str):
    """A string whose repr is hidden, because some error reporters print local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def as_secret(token: str | None) -> str | None:
    """Return a token as a `Secret`. Other types are returned unchanged, for the settings to refuse."""
    return Secret(token) if isinstance(token, str) else token


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Everything that decides which engine is loaded. Equal settings share one engine.

    The model and the cache folder are resolved on creation: folders become absolute paths without links, so a later
    change of the working directory has no effect.

    Attributes:
        model: hub id, local folder, or "demo" for the bundled demo checkpoint. It is stored as a `ModelName`.
        revision: branch, tag or commit on the hub.
        device: "auto" (CUDA, then MPS, then CPU), or any torch device as a string or `torch.device`. Only equal names
            share an engine: "cuda" is the GPU that is current when the model loads, which is not known earlier.
        devices: load the whole model on each of these devices and split the work between them; None uses `device`.
        device_map: "auto" spreads the layers of one model over all GPUs, for a model too large for any one of them.
        dtype: "auto" is bfloat16 on CUDA with compute capability >= 8.0, and float16 on older CUDA and MPS. On a CPU,
            it is bfloat16 where that is at least 1.5 times as fast as float32 and the checkpoint is stored in 16 bits,
            else float32.
        attention: "auto", torch's "varlen" flash attention, the "flash_attn" package, "fa3" or "fa4" (extras of these
            names), "matmul" (matrix products and a softmax, on a CPU), or "sdpa".
        kernels: "auto", "triton" (fused Triton kernels for everything between matrix products and attention), "onednn"
            (matrix products of a CPU over packed weights), or "torch". "auto" is Triton wherever it can run, and on a
            CPU what is faster there.
        quantization: None, "int8" or "int4" (extra "quantization"), or "fp8" (extra "fp8"): how the weights of the
            decoder layers are stored. The embeddings and the yes/no rows are never quantized.
        max_batch_tokens: unique tokens in one forward pass; "auto" derives it from free memory.
        threads: CPU threads for each model that runs on the CPU. "auto" derives the number from the cores, the quota
            and the affinity of this process, and from the size of the model. On a GPU the number has no effect once
            the model is loaded.
        compile: compile the layers with torch.compile, on CUDA in place of the fused kernels; slow at the first call.
        cache: where scores are kept, so that the same prompt is not computed twice: None for nowhere, "memory" for this
            engine's memory, or the path of an SQLite file that processes share.
        cache_bytes: most bytes that the scores may take there, about.
        cache_dir: hub cache folder; None is the hub's default.
        local_files_only: never use the network.
        token: hub access token; never shown, compared, pickled or logged.
        trust_remote_code: let transformers run code from the checkpoint; no Qwen3-Reranker needs it.

    Raises:
        SettingsError: a value is not among those listed here, or two settings contradict each other.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    devices: tuple[str, ...] | None = None
    device_map: DeviceMap | None = None
    dtype: Dtype = "auto"
    attention: AttentionName = "auto"
    kernels: KernelsName = "auto"
    quantization: Quantization | None = None
    max_batch_tokens: int | Literal["auto"] = "auto"
    threads: int | Literal["auto"] = "auto"
    compile: bool = False
    cache: str | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES
    cache_dir: str | None = None
    local_files_only: bool = False
    token: str | None = dataclasses.field(default=None, repr=False, compare=False)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        make_plain(self, but=("model", "cache", "cache_dir"))
        self._set("model", resolve_model(self.model))
        self._set("device", device_name(self.device))
        if not isinstance(self.device, str) or not self.device:
            raise SettingsError(f"device must be a non-empty string, got {self.device!r}.")
        if isinstance(self.cache_dir, (str, os.PathLike)):
            self._set("cache_dir", resolve_path("cache_dir", plain.text(self.cache_dir)))
        self._set("cache", resolve_cache(self.cache))
        self._set("cache_bytes", positive_int("cache_bytes", self.cache_bytes))
        if self.cache_bytes < SMALLEST_CACHE_BYTES:
            raise SettingsError(
                f"cache_bytes={self.cache_bytes} is too small: it must be at least {SMALLEST_CACHE_BYTES:,}. For no "
                "cache, pass cache=None."
            )
        for name in ("revision", "cache_dir", "token"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise SettingsError(f"{name} must be a string or None, got {type(getattr(self, name)).__name__}.")
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise SettingsError(  # the HTTP client would refuse it too, and quote it
                "token must be None or one run of visible ASCII characters. If it was read from a file, strip the line "
                "break at its end."
            )
        self._set("token", as_secret(self.token))
        self._check_devices()
        one_of("dtype", self.dtype, get_args(Dtype))
        one_of("attention", self.attention, get_args(AttentionName))
        one_of("kernels", self.kernels, get_args(KernelsName))
        if self.quantization is not None:
            one_of("quantization", self.quantization, get_args(Quantization))
        for name in ("max_batch_tokens", "threads"):
            value = getattr(self, name)
            if not isinstance(value, str) or value != "auto":
                self._set(name, positive_int(name, value))
        for name in ("compile", "local_files_only", "trust_remote_code"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        if self.compile and self.kernels in ("triton", "onednn"):
            raise SettingsError(
                f"kernels={self.kernels!r} and compile=True contradict each other: torch.compile fuses the same "
                "operations itself. Drop one of the two."
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_devices(self) -> None:
        if self.devices is not None:
            self._set("devices", device_names(self.devices))
            if self.device != "auto":
                raise SettingsError(
                    f"device={self.device!r} and devices={list(self.devices)!r} contradict each other: device is for "
                    "one model, devices for a model on each device. Pass only one of them."
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
                f"device={self.device!r} and device_map={self.device_map!r} contradict each other: device_map uses "
                "every GPU that this process sees. Drop device; CUDA_VISIBLE_DEVICES limits which GPUs are seen."
            )
        for name in ("quantization", "compile"):
            if getattr(self, name):
                raise SettingsError(
                    f"{name}={getattr(self, name)!r} needs the whole model on one device, and device_map="
                    f"{self.device_map!r} spreads it over several. Drop one of the two."
                )

    @property
    def replicas(self) -> tuple[EngineSettings, ...]:
        """The settings of each model to load: one per entry of `devices`, or only these settings."""
        if self.devices is None:
            return (self,)
        return tuple(dataclasses.replace(self, device=device, devices=None) for device in self.devices)

    @property
    def cache_key(self) -> EngineSettings:
        """The settings themselves, because two spellings of one folder became equal on creation."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "token": None}


def device_name(device: Any) -> Any:
    """Return a string or a `torch.device` as a string, without importing torch. Other types are returned unchanged."""
    if isinstance(device, str):
        return device.strip()
    kind = type(device)
    return str(device) if (kind.__module__, kind.__name__) == ("torch", "device") else device


def device_names(devices: object) -> tuple[str, ...]:
    """Return the names of one or more devices; "auto" is not allowed."""
    names = tuple(map(device_name, devices)) if isinstance(devices, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) and name for name in names) or "auto" in names:
        raise SettingsError(
            'devices must be None or a list of device names, such as ["cuda:0", "cuda:1"]; '
            f"got {devices!r}. For one device, pass device."
        )
    return names


def make_plain(settings: Any, but: tuple[str, ...] = ()) -> None:
    """Replace the values of a frozen dataclass with equal plain Python values; see `_plain_values.plain`.

    Args:
        settings: the dataclass, while its `__post_init__` runs.
        but: names of fields to leave unchanged.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in but and not isinstance(value, Secret):
            object.__setattr__(settings, field.name, plain.plain(value))


def positive_int(name: str, value: object) -> int:
    """Return a positive whole number as an `int`, or raise `SettingsError`. `True` is not a number here."""
    found = plain.whole(value)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise SettingsError(f"{name} must be a positive whole number, got {value!r}.")
    return found


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> Any:
    """Return an allowed value as a `str`, or raise `SettingsError`."""
    found = plain.text(value)
    if not isinstance(found, str) or found not in allowed:
        raise SettingsError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")
    return found
