"""Settings -> where and how a model will run on this machine, and why; nothing is loaded for the answer.

Comes in: `EngineSettings`, and how a checkpoint is quantised already. Goes out: `Placement`.
Must not know: weights.
"""

from __future__ import annotations

import dataclasses

import torch

from qwen3_rerank_plugins.engine.attention import AttentionChoice, choose_attention
from qwen3_rerank_plugins.engine.model import rows_at_once
from qwen3_rerank_plugins.engine.quantization import QuantizationChoice, choose_quantization
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.stored import StoredQuantization
from qwen3_rerank_plugins.engine.unpacking import choose_stored
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
        return rows_at_once(self.device, quantised=self.quantization.name is not None)


def choose_placement(settings: EngineSettings, stored: StoredQuantization | None = None) -> Placement:
    """Resolve every "auto" of the settings for this machine, for a checkpoint that may be quantised already.

    Of several devices it is the first one's, see `EngineSettings.replicas`; of a spread model, where its layers begin,
    with a dtype and an attention that all of its GPUs have.

    Raises:
        SettingsError: a device, dtype, attention or quantization was asked for that this machine does not have.
        MissingExtraError: the library behind the quantization is not installed.
    """
    settings = settings.replicas[0]
    device, device_reason = _choose_device(settings.device)
    weakest = device
    if settings.device_map and device.type == "cuda":
        gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        device, device_reason = gpus[0], f"the first of {len(gpus)} that share the layers"
        weakest = min(gpus, key=torch.cuda.get_device_capability)
    dtype, dtype_reason = _choose_dtype(settings.dtype, weakest)
    attention = choose_attention(settings.attention, weakest, dtype)
    if stored:
        quantization = choose_stored(settings, stored, device, dtype)
    else:
        quantization = choose_quantization(settings.quantization, device, dtype)
    return Placement(device, device_reason, dtype, dtype_reason, attention, quantization)


def dtype_name(dtype: torch.dtype) -> str:
    """Torch's name of a dtype without its "torch." in front."""
    return str(dtype).removeprefix("torch.")


def _choose_device(asked: str) -> tuple[torch.device, str]:
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), "CUDA is available"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "MPS is available, CUDA is not"
        return torch.device("cpu"), "neither CUDA nor MPS is available"
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")  # torch ends some of its reasons with a period
        raise SettingsError(f"device={asked!r} is not usable here: {reason}. Use device='auto'.") from error
    return device, "asked for"


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
