"""Quantize the linear layers of a loaded model, one after another. Embeddings, output matrix and norms stay unchanged.

int8 and int4 quantize only the stored weights. Each weight is dequantized just before its product, so they save memory,
and activations stay exact. int4 is NF4: codes with a scale for every 64 weights. fp8 also rounds the activations, which
makes it fast, and so does int8 on a CPU with fast products of bytes. A score never depends on the rest of its batch:
each token's activations have a scale of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from qwen3_rerank_plugins.engine.kernels import onednn
from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError

_NF4, _BLOCK = "nf4", 64
_SCALE_BYTES = 4  # every scale is float32


@dataclasses.dataclass(frozen=True, slots=True)
class QuantizationChoice:
    """How the weights of the decoder layers are stored.

    Attributes:
        name: the quantization; None if they are not quantized.
        reason: the reason.
        int8_products: whether a CPU multiplies int8 weights by activations rounded to int8, instead of unpacking them.
    """

    name: Quantization | None
    reason: str
    int8_products: bool = False


def choose_quantization(asked: Quantization | None, device: torch.device, dtype: torch.dtype) -> QuantizationChoice:
    """Check that a quantization can run on a device. Nothing is imported for the answer.

    Raises:
        SettingsError: it cannot, or has no benefit there; the message says what to use instead.
        MissingExtraError: the library for it is not installed.
    """
    if asked is None:
        return QuantizationChoice(None, "not asked for")
    if asked == "fp8":
        _check_fp8(device, dtype)
        _check_installed("torchao", "fp8")
        return QuantizationChoice(asked, "weights and activations in 8-bit floats")
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(
            f"quantization={asked!r} is not available on {device.type}. Use quantization=None, with a smaller "
            "checkpoint where memory is short, or device='cpu'."
        )
    _check_installed("bitsandbytes", "quantization")
    precision = "a scale a row" if asked == "int8" else f"NF4, a scale every {_BLOCK} weights"
    return QuantizationChoice(asked, f"{precision}, unpacked before each product: saves memory, not time")


def quantize_layers(causal_lm: Any, mode: Quantization, device: torch.device, dtype: torch.dtype) -> None:
    """Quantize a model in place, one matrix after another, and move each layer to its device and dtype.

    The device never holds more than the quantized model and one layer. CUDA support is minimal, and the authors of this
    version never ran it: bitsandbytes unpacks int4 there with its own kernel, and fp8, which is torchao's, is untested.
    """
    for layer in causal_lm.model.layers:
        if mode == "fp8":
            move_to(layer, device, dtype)
            _to_fp8(layer)
            continue
        for parent in (layer.self_attn, layer.mlp):
            for name, child in parent.named_children():
                if isinstance(child, nn.Linear):
                    setattr(parent, name, Int8Linear(child) if mode == "int8" else Int4Linear(child))
        move_to(layer, device, dtype)
    move_to(causal_lm, device, dtype)


def pack_int8_layers(causal_lm: Any) -> None:
    """Let a CPU multiply in int8: replace the layers that `quantize_layers` made, one after another."""
    for layer in causal_lm.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            for name, child in parent.named_children():
                if isinstance(child, Int8Linear) and child.bias is None:
                    setattr(parent, name, PackedInt8Linear(child))


def matrix_bytes(mode: Quantization, rows: int, columns: int) -> int:
    """Return the bytes of one quantized matrix with its scales."""
    if mode == "int4":
        return -(-rows * columns // 2) + -(-rows * columns // _BLOCK) * _SCALE_BYTES
    return rows * columns + rows * _SCALE_BYTES


class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as integers from -127 to 127, with a scale for each row."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight: Any = linear.weight
        if weight.dtype == torch.int8:  # quantized by bitsandbytes before it was saved
            codes, largest = weight.data, weight.SCB
        else:
            codes, largest, _ = _bitsandbytes().int8_vectorwise_quant(weight.detach().float())
        self.register_buffer("codes", codes)  # [out, in] int8
        self.register_buffer("scales", largest[:, None] / 127)  # [out, 1] float32
        self.bias: torch.Tensor | None = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply [R, in] by the weight, giving [R, out]."""
        # scaled before the product: unscaled sums would overflow float16
        weight = (self.codes * self.scales).to(hidden.dtype)
        return nn.functional.linear(hidden, weight, self.bias)


class PackedInt8Linear(nn.Module):
    """A linear layer whose int8 weight exists in oneDNN's layout only, and whose products are products of bytes.

    Args:
        linear: the layer whose codes are packed; it has no bias.
    """

    packed: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("packed", onednn.pack_int8(linear.codes), persistent=False)
        self.register_buffer("scales", linear.scales.flatten())  # [out] float32

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply [R, in] by the weight, giving [R, out]; see `onednn.multiply_int8`."""
        return onednn.multiply_int8(hidden, self.packed, self.scales)


class Int4Linear(nn.Module):
    """A linear layer whose weight is stored as 4-bit codes, two per byte, with a scale for each block."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        state: Any = getattr(linear.weight, "quant_state", None)
        if state is not None:  # quantized by bitsandbytes before it was saved, perhaps with quantized scales
            codes, scales = linear.weight.data.view(torch.uint8), state.absmax
            if state.nested:
                scales = _bitsandbytes().dequantize_blockwise(scales, state.state2) + state.offset
        else:
            codes, state = _bitsandbytes().quantize_4bit(
                linear.weight.detach().contiguous(), blocksize=_BLOCK, compress_statistics=False, quant_type=_NF4
            )
            scales = state.absmax
        self.shape, self.block, self.kind = list(state.shape), state.blocksize, state.quant_type
        self.register_buffer("codes", codes)  # [out * in / 2, 1] uint8
        self.register_buffer("scales", scales)  # [out * in / block] float32
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply [R, in] by the weight, giving [R, out]."""
        # bitsandbytes' layer rounds activations to bfloat16 on some CPUs, and repacks its weight in a forward pass
        weight = torch.ops.bitsandbytes.dequantize_4bit(
            self.codes, self.scales, self.block, self.kind, self.shape, hidden.dtype
        )
        return nn.functional.linear(hidden, weight, self.bias)


def move_to(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move parameters to a device and dtype, and buffers to the device only: scales and frequencies stay float32."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(device, dtype)
    module.to(device)


def _to_fp8(layer: nn.Module) -> None:
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    quantize_(layer, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False))


def _check_fp8(device: torch.device, dtype: torch.dtype) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise SettingsError(
            "quantization='fp8' needs a CUDA device with compute capability 8.9 or higher; elsewhere it would take "
            "as much memory as int8, be no faster, and be less exact. Use quantization='int8'."
        )
    if dtype != torch.bfloat16:
        raise SettingsError("quantization='fp8' computes in bfloat16. Use dtype='bfloat16', or quantization='int8'.")


def _check_installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra)


def _bitsandbytes() -> Any:
    """Import bitsandbytes' functions with the first quantized model."""
    if "bitsandbytes" not in sys.modules:
        with without_kernels():
            importlib.import_module("bitsandbytes")
    return importlib.import_module("bitsandbytes.functional")


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Hide the package kernels while bitsandbytes is imported.

    On some CPUs bitsandbytes fetches a kernel from the hub if that package is installed, and otherwise logs a line
    about it. Fetching would break the promise of local_files_only, and nothing here needs the kernel.
    """
    logger, absent = logging.getLogger("bitsandbytes"), object()
    level, kernels = logger.level, sys.modules.get("kernels", absent)
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]  # makes Python refuse to import it
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if kernels is not absent:
            sys.modules["kernels"] = kernels  # type: ignore[assignment]
