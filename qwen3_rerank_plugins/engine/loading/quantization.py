"""The linear layers of a loaded model in 8 or 4 bits: decided before anything is loaded, done layer by layer after.

Comes in: a mode's name, a device, a dtype; then a model on the CPU. Goes out: the same model, on its device, smaller.
Must not know: prompts, batches, scores. Embeddings, output matrix and norms are never touched.

int8 and int4 store the weights only, and turn each one back into the dtype of the pass just before its product: memory
is what they save, activations stay exact, and a score does not depend on what else is in its pass. int4 is NF4, codes
with a scale for every 64 weights. fp8 also rounds the activations, which is what makes it fast.
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

from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError

_NF4, _BLOCK = "nf4", 64
_SCALE_BYTES = 4  # every scale is float32


@dataclasses.dataclass(frozen=True, slots=True)
class QuantizationChoice:
    """How the decoder layers' weights are stored, and why; a name of None leaves them as they are."""

    name: Quantization | None
    reason: str


def choose_quantization(asked: Quantization | None, device: torch.device, dtype: torch.dtype) -> QuantizationChoice:
    """Whether a mode can run here; nothing is imported for the answer.

    Raises:
        SettingsError: it cannot, or makes no sense on this device; the message says what to use instead.
        MissingExtraError: the library behind it is not installed.
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
    """Quantise in place, one matrix after the other, and move the model to its device and dtype as it shrinks.

    The device never holds more than the quantised model and one layer. CUDA is minimal and was never run by the
    authors of this version: bitsandbytes unpacks int4 there by a kernel of its own, and fp8 is torchao's, untested.
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


def matrix_bytes(mode: Quantization, rows: int, columns: int) -> int:
    """Memory of one quantised matrix with its scales."""
    if mode == "int4":
        return -(-rows * columns // 2) + -(-rows * columns // _BLOCK) * _SCALE_BYTES
    return rows * columns + rows * _SCALE_BYTES


class Int8Linear(nn.Module):
    """A linear layer with its weight in whole numbers from -127 to 127, each row scaled by its largest."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight: Any = linear.weight
        if weight.dtype == torch.int8:  # packed by bitsandbytes before it was saved
            codes, largest = weight.data, weight.SCB
        else:
            codes, largest, _ = _bitsandbytes().int8_vectorwise_quant(weight.detach().float())
        self.register_buffer("codes", codes)  # [out, in] int8
        self.register_buffer("scales", largest[:, None] / 127)  # [out, 1] float32
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[R, in] -> [R, out]."""
        # scaled before the product: unscaled sums would overflow float16
        weight = (self.codes * self.scales).to(hidden.dtype)
        return nn.functional.linear(hidden, weight, self.bias)


class Int4Linear(nn.Module):
    """A linear layer with its weight in 4-bit codes, two a byte, each block scaled by its largest."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        state: Any = getattr(linear.weight, "quant_state", None)
        if state is not None:  # packed by bitsandbytes before it was saved, maybe with packed scales
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
        """[R, in] -> [R, out]."""
        # bitsandbytes' own layer rounds activations to bfloat16 on some CPUs, and repacks its weight in a forward pass
        weight = torch.ops.bitsandbytes.dequantize_4bit(
            self.codes, self.scales, self.block, self.kind, self.shape, hidden.dtype
        )
        return nn.functional.linear(hidden, weight, self.bias)


def move_to(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Parameters to device and dtype, buffers to the device only: scales and rotary frequencies stay float32."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(device, dtype)
    module.to(device)


def _to_fp8(layer: nn.Module) -> None:
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    quantize_(layer, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False))


def _check_fp8(device: torch.device, dtype: torch.dtype) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise SettingsError(
            "quantization='fp8' needs a CUDA device with compute capability 8.9 or higher; elsewhere it would take as "
            "much memory as int8, be no faster, and be less exact. Use quantization='int8'."
        )
    if dtype != torch.bfloat16:
        raise SettingsError("quantization='fp8' computes in bfloat16. Use dtype='bfloat16', or quantization='int8'.")


def _check_installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra)


def _bitsandbytes() -> Any:
    """The library's functions, imported at the first quantised model."""
    if "bitsandbytes" not in sys.modules:
        with without_kernels():
            importlib.import_module("bitsandbytes")
    return importlib.import_module("bitsandbytes.functional")


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """On some CPUs bitsandbytes fetches a kernel from the hub as it is imported, if the package kernels is there, and
    otherwise writes a line about it: one breaks the promise of local_files_only, and nothing here needs the kernel.
    """
    logger, absent = logging.getLogger("bitsandbytes"), object()
    level, kernels = logger.level, sys.modules.get("kernels", absent)
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]  # how Python spells "cannot be imported"
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if kernels is not absent:
            sys.modules["kernels"] = kernels  # type: ignore[assignment]
