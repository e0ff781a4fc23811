"""Choose the dtype and the matrix products of a model on a CPU, by the race of `product_race`."""

from __future__ import annotations

from typing import Literal

import torch

from qwen3_rerank_plugins.engine.kernels import onednn
from qwen3_rerank_plugins.engine.kernels.layer_kernels import KernelChoice
from qwen3_rerank_plugins.engine.kernels.product_race import ProductRates, race_products
from qwen3_rerank_plugins.errors import SettingsError

SMALLEST_MATRIX = 500_000
"""Weights of a matrix below which the choice saves nothing: a pass of the demo is not spent on matrix products."""
WORTHWHILE_BFLOAT16 = 1.5
"""How many times as fast as float32 bfloat16 must be for "auto" to round to it."""
WORTHWHILE_ONEDNN = 1.05
"""How many times as fast as torch's own products oneDNN's must be for "auto" to pack the weights."""


WORTHWHILE_INT8 = 1.1
"""How many times as fast as those in the model's dtype int8 products must be, because they round the activations."""


_UNKNOWN = 1024
"""Sides of the matrices that are multiplied to check oneDNN for a model of unknown sizes."""


class CpuProducts:
    """The choices for one model.

    Args:
        sides: inputs and outputs of its largest matrices; None if they are unknown.
        stored_in_16_bits: whether its weights are stored in float16 or bfloat16.
    """

    def __init__(self, sides: tuple[int, int] | None, *, stored_in_16_bits: bool = True) -> None:
        self._sides = sides or (_UNKNOWN, _UNKNOWN)
        self._obstacle = _obstacle(sides)
        self._stored_in_16_bits = stored_in_16_bits

    @property
    def _rates(self) -> ProductRates:
        return race_products(*self._sides)

    def choose_dtype(self) -> tuple[torch.dtype, str]:
        """Return what dtype="auto" is, and why. float16 has slow products on most CPUs, so it is never chosen."""
        if self._obstacle:
            return torch.float32, self._obstacle
        if not self._stored_in_16_bits:
            return torch.float32, "the checkpoint is stored in it"
        single, half = self._rates.best(torch.float32), self._rates.best(torch.bfloat16)
        reason = f"bfloat16 products are {_compared(half, single)}"
        return (torch.bfloat16 if half >= WORTHWHILE_BFLOAT16 * single else torch.float32), reason

    def choose_int8(self, dtype: torch.dtype) -> tuple[bool, str]:
        """Return whether products of int8 weights round the activations to int8 as well, and why."""
        if self._obstacle:
            return False, self._obstacle
        codes, others = self._rates.of("onednn", torch.int8), self._rates.best(dtype)
        if not codes:
            return False, "oneDNN has no products in int8 here"
        return codes >= WORTHWHILE_INT8 * others, f"products in int8 are {_compared(codes, others)}"

    def choose_kernels(
        self, asked: Literal["auto", "onednn"], device: torch.device, dtype: torch.dtype, obstacle: str | None
    ) -> KernelChoice:
        """Choose between oneDNN's products over packed weights and torch's own.

        Args:
            asked: as in the settings.
            device: where the model runs.
            dtype: the dtype of the model.
            obstacle: why other settings rule out packed weights; None if they do not.

        Raises:
            SettingsError: "onednn" was asked for and cannot run here.
        """
        obstacle = obstacle or onednn.obstacle(device, dtype)
        if asked == "onednn":
            obstacle = obstacle or self._check(dtype)
            if obstacle:
                raise SettingsError(f"kernels='onednn' cannot run here: {obstacle}. Use kernels='auto'.")
            return KernelChoice("onednn", "asked for")
        if obstacle:
            return KernelChoice("torch", obstacle)
        if self._obstacle:
            return KernelChoice("torch", self._obstacle)
        packed, plain = self._rates.of("onednn", dtype), self._rates.of("torch", dtype)
        if not packed:
            return KernelChoice("torch", f"oneDNN has no products in {_name(dtype)} here")
        reason = f"oneDNN's products are {_compared(packed, plain)}"
        return KernelChoice("onednn" if packed >= WORTHWHILE_ONEDNN * plain else "torch", reason)

    def _check(self, dtype: torch.dtype) -> str | None:
        """Return why oneDNN's products in a dtype cannot run on this processor, or None."""
        return None if self._rates.of("onednn", dtype) else f"oneDNN has no products in {_name(dtype)} here"


def _obstacle(sides: tuple[int, int] | None) -> str | None:
    """Return why nothing is measured for a model, or None."""
    if sides is None:
        return "the sizes of the model are not known here"
    return "exact, and fast enough for a model this small" if sides[0] * sides[1] < SMALLEST_MATRIX else None


def _compared(rate: float, other: float) -> str:
    return f"{rate / other:.1f} times as fast here ({rate / 1e9:,.0f} and {other / 1e9:,.0f} GFLOP/s a core)"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
