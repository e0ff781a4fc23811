"""Choose the device, dtype, kernels and quantization of a model on this machine, with reasons. Nothing is loaded."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import complete_config
from qwen3_rerank_plugins.engine.kernels.cpu_products import CpuProducts
from qwen3_rerank_plugins.engine.kernels.layer_kernels import KernelChoice, choose_kernels
from qwen3_rerank_plugins.engine.loading.dequantize import choose_checkpoint_quantization
from qwen3_rerank_plugins.engine.loading.quantization import QuantizationChoice, choose_quantization
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.model.attention import AttentionChoice, choose_attention, gather_rows
from qwen3_rerank_plugins.engine.model.packed_model import rows_at_once
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointError, SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model will run, and why. `qwen3-rerank doctor` shows it before anything is loaded."""

    device: torch.device
    device_reason: str
    dtype: torch.dtype
    dtype_reason: str
    kernels: KernelChoice
    attention: AttentionChoice
    quantization: QuantizationChoice

    @property
    def rows_at_once(self) -> int | None:
        """Tokens that go through a layer at once; None for all tokens of the batch. See `packed_model.rows_at_once`."""
        unpacks = self.quantization.name is not None and not self.quantization.int8_products
        return rows_at_once(self.device, quantized=unpacks)

    @property
    def numerics(self) -> str:
        """What decides how scores are rounded: the kind of device, dtype, kernels, attention and quantization."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        quantization = self.quantization.name or "unquantized"
        products = " in int8 products" if self.quantization.int8_products else ""
        return (
            f"{device}, {dtype_name(self.dtype)}, {self.kernels.name} kernels, {self.attention.name} attention, "
            f"{quantization}{products}"
        )


def choose_placement(settings: EngineSettings, checkpoint: Checkpoint | None = None) -> Placement:
    """Resolve every "auto" of the settings for this machine. On a CPU this may multiply some matrices to compare rates.

    With several devices, the result is for the first; see `EngineSettings.replicas`. For a model spread over GPUs, the
    device is that of the first layer, and dtype and attention are ones that all of its GPUs support.

    Args:
        settings: what was asked for.
        checkpoint: the files of the model, which its dtype and quantization depend on; None if they are not here.

    Raises:
        SettingsError: this machine does not have the device, dtype, kernels or quantization that was asked for.
        MissingExtraError: the library for the quantization is not installed.
    """
    settings = settings.replicas[0]
    device, device_reason = choose_device(settings.device)
    weakest = device
    if settings.device_map and device.type == "cuda":
        gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        device, device_reason = gpus[0], f"the first of {len(gpus)} that share the layers"
        weakest = min(gpus, key=torch.cuda.get_device_capability)
    products = _products(settings, checkpoint)
    dtype, dtype_reason = _choose_dtype(settings.dtype, weakest, products)
    if checkpoint and checkpoint.quantization:
        quantization = choose_checkpoint_quantization(settings, checkpoint.quantization, device, dtype)
    else:
        quantization = choose_quantization(settings.quantization, device, dtype)
        if quantization.name == "int8" and device.type == "cpu":
            quantization = _with_int8_products(quantization, products, dtype)
    kernels = _choose_kernels(settings, weakest, dtype, quantization, products)
    gather = kernels.kernels.gather if kernels.kernels else gather_rows
    fast_products = weakest.type == "cpu" and dtype == torch.bfloat16 and products.choose_dtype()[0] == dtype
    attention = choose_attention(settings.attention, weakest, dtype, gather, fast_products=fast_products)
    return Placement(device, device_reason, dtype, dtype_reason, kernels, attention, quantization)


def find_placement(settings: EngineSettings) -> Placement:
    """Return the placement of a model by its files if they are on this machine, and by its name if they are not."""
    checkpoint = None
    with contextlib.suppress(CheckpointError):
        checkpoint = find_checkpoint(dataclasses.replace(settings, local_files_only=True))
    return choose_placement(settings, checkpoint)


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name of a dtype without the prefix "torch."."""
    return str(dtype).removeprefix("torch.")


def choose_device(asked: str) -> tuple[torch.device, str]:
    """Return a device of this machine, with its index if it can have several, and why it was chosen.

    "cuda" is the GPU that is current on the calling thread.

    Raises:
        SettingsError: there is no such device, or it cannot hold a model.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return _resolve("cuda"), "CUDA is available"
        if torch.backends.mps.is_available():
            return _resolve("mps"), "MPS is available, CUDA is not"
        return _resolve("cpu"), "neither CUDA nor MPS is available"
    try:
        return _resolve(asked), "asked for"
    except Exception as error:  # device types raise different errors; some messages of torch end with a period
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SettingsError(
            f"device={asked!r} is not usable here: {reason}. Use device='auto', or one of {', '.join(_usable())}."
        ) from error


def use_device(device: torch.device) -> None:
    """Make a GPU current on the calling thread, because some kernels ignore the device of their inputs."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def models_on_device(settings: EngineSettings, one: EngineSettings) -> int:
    """Return how many of the models that `settings` loads run on the same device as the model of `one`."""
    device, found = choose_device(one.device)[0], 0
    for replica in settings.replicas:
        with contextlib.suppress(SettingsError):  # its scheduler reports it
            found += choose_device(replica.device)[0] == device
    return found


def _resolve(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "meta":
        raise ValueError("tensors there hold no numbers")
    if device.type != "cuda":
        return torch.empty(0, device=device).device  # with an index, if there can be several
    if not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} finds no CUDA device")
    if name == device.type:
        return torch.device("cuda", torch.cuda.current_device())
    count = torch.cuda.device_count()
    if device.index >= count:
        raise ValueError(f"this process sees {count} CUDA device{'s' if count > 1 else ''}")
    return device


def _usable() -> list[str]:
    """Return the names of all usable devices."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    elif torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        names += [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())] if kind else []
    return [repr(name) for name in names]


def _products(settings: EngineSettings, checkpoint: Checkpoint | None) -> CpuProducts:
    shape = Shape.from_config(complete_config(checkpoint.config)) if checkpoint else PUBLISHED.get(settings.model)
    stored_in_16_bits = checkpoint.stored_in_16_bits if checkpoint else True
    return CpuProducts((shape.hidden, shape.intermediate) if shape else None, stored_in_16_bits=stored_in_16_bits)


def _with_int8_products(choice: QuantizationChoice, products: CpuProducts, dtype: torch.dtype) -> QuantizationChoice:
    faster, reason = products.choose_int8(dtype)
    if faster:
        return dataclasses.replace(choice, reason=f"a scale a row and a scale a token: {reason}", int8_products=True)
    return dataclasses.replace(choice, reason=f"{choice.reason}; {reason}")


def _choose_kernels(
    settings: EngineSettings,
    device: torch.device,
    dtype: torch.dtype,
    quantization: QuantizationChoice,
    products: CpuProducts,
) -> KernelChoice:
    asked = settings.kernels
    if asked == "onednn" or (asked == "auto" and device.type == "cpu"):
        obstacle = f"the weights are stored as {quantization.name}" if quantization.name else None
        obstacle = obstacle or ("torch.compile chooses its own products" if settings.compile else None)
        return products.choose_kernels(asked, device, dtype, obstacle)
    return choose_kernels(asked, device, dtype, compile=settings.compile)


def _choose_dtype(asked: str, device: torch.device, products: CpuProducts) -> tuple[torch.dtype, str]:
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
    if device.type == "cpu":
        return products.choose_dtype()
    return torch.float32, "the most exact dtype"
