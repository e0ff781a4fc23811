"""Settings -> where and how a model will run on this machine, and why; nothing is loaded for the answer.

Comes in: `EngineSettings`, and how a checkpoint is quantised already. Goes out: `Placement`.
Must not know: weights.
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization
from qwen3_rerank_plugins.engine.loading.dequantize import choose_checkpoint_quantization
from qwen3_rerank_plugins.engine.loading.quantization import QuantizationChoice, choose_quantization
from qwen3_rerank_plugins.engine.model.attention import AttentionChoice, choose_attention
from qwen3_rerank_plugins.engine.model.packed_model import rows_at_once
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model will run, and why: what `doctor` shows before anything is loaded."""

    device: torch.device
    device_reason: str
    dtype: torch.dtype
    dtype_reason: str
    attention: AttentionChoice
    quantization: QuantizationChoice

    @property
    def rows_at_once(self) -> int | None:
        """See `model.rows_at_once`."""
        return rows_at_once(self.device, quantized=self.quantization.name is not None)


def choose_placement(settings: EngineSettings, stored: CheckpointQuantization | None = None) -> Placement:
    """Resolve every "auto" of the settings for this machine, for a checkpoint that may be quantised already.

    Of several devices it is the first one's, see `EngineSettings.replicas`; of a spread model, where its layers begin,
    with a dtype and an attention that all of its GPUs have.

    Raises:
        SettingsError: a device, dtype, attention or quantization was asked for that this machine does not have.
        MissingExtraError: the library behind the quantization is not installed.
    """
    settings = settings.replicas[0]
    device, device_reason = choose_device(settings.device)
    weakest = device
    if settings.device_map and device.type == "cuda":
        gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        device, device_reason = gpus[0], f"the first of {len(gpus)} that share the layers"
        weakest = min(gpus, key=torch.cuda.get_device_capability)
    dtype, dtype_reason = _choose_dtype(settings.dtype, weakest)
    attention = choose_attention(settings.attention, weakest, dtype)
    if stored:
        quantization = choose_checkpoint_quantization(settings, stored, device, dtype)
    else:
        quantization = choose_quantization(settings.quantization, device, dtype)
    return Placement(device, device_reason, dtype, dtype_reason, attention, quantization)


def dtype_name(dtype: torch.dtype) -> str:
    """Torch's name of a dtype without its "torch." in front."""
    return str(dtype).removeprefix("torch.")


def choose_device(asked: str) -> tuple[torch.device, str]:
    """One device of this machine, with its index where its kind has several, and why it was chosen.

    "cuda" is the GPU that is current in the calling thread.

    Raises:
        SettingsError: there is no such device here, or it cannot hold a model.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return _find("cuda"), "CUDA is available"
        if torch.backends.mps.is_available():
            return _find("mps"), "MPS is available, CUDA is not"
        return _find("cpu"), "neither CUDA nor MPS is available"
    try:
        return _find(asked), "asked for"
    except Exception as error:  # each kind of device has its own way to say no
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")  # torch ends some with a period
        raise SettingsError(
            f"device={asked!r} is not usable here: {reason}. Use device='auto', or one of {', '.join(_possible())}."
        ) from error


def use_device(device: torch.device) -> None:
    """Make a GPU the current one of the calling thread: not every kernel looks where its inputs are."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def models_on_device(settings: EngineSettings, one: EngineSettings) -> int:
    """How many of the models that are loaded for `settings` run on the same device as `one` of them."""
    device, found = choose_device(one.device)[0], 0
    for replica in settings.replicas:
        with contextlib.suppress(SettingsError):  # its own worker says so
            found += choose_device(replica.device)[0] == device
    return found


def _find(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "meta":
        raise ValueError("tensors there hold no numbers")
    if device.type != "cuda":
        return torch.empty(0, device=device).device  # which has an index, where there may be several
    if not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} finds no CUDA device")
    if name == device.type:
        return torch.device("cuda", torch.cuda.current_device())
    count = torch.cuda.device_count()
    if device.index >= count:
        raise ValueError(f"this process sees {count} CUDA device{'s' if count > 1 else ''}")
    return device


def _possible() -> list[str]:
    """The names of all devices that could be asked for."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    elif torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        names += [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())] if kind else []
    return [repr(name) for name in names]


def _choose_dtype(asked: str, device: torch.device) -> tuple[torch.dtype, str]:
    if asked != "auto":
        dtype: torch.dtype = getattr(torch, asked)
        return dtype, "asked for"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8:
            return torch.bfloat16, f"compute capability {major}.{minor}"
        return torch.float16, f"compute capability {major}.{minor} is below 8.0"
    if device.type == "mps":
        return torch.float16, "half precision on MPS"
    return torch.float32, "the fastest and most exact dtype on most CPUs"
