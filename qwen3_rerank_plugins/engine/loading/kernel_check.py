"""Run the chosen kernels once against plain torch before they compute scores, and replace those that fail.

A kernel may fail on one machine only: a driver older than its compiler, a missing C compiler, a broken build. The check
runs a tiny batch of the model's sizes at the first load on a device. It takes a few hundred milliseconds, most of which
compile kernels that the model needs anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qwen3_rerank_plugins._printable import logger, one_line
from qwen3_rerank_plugins.engine.kernels.layer_kernels import KernelChoice, LayerKernels, TorchKernels
from qwen3_rerank_plugins.engine.loading.placement import Placement
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.attention import Attention, AttentionChoice, choose_attention
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention

BOUNDS = {torch.float32: 1e-4, torch.float16: 2**-8, torch.bfloat16: 2**-6}
"""Largest difference from plain torch, as a share of the largest value: a few roundings of the dtype."""
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class KernelCheck:
    """The result for one kernel on one device.

    Attributes:
        kernel: its name.
        device: where it ran.
        difference: largest difference from plain torch, as a share of the largest value; None if it raised an error.
        bound: the largest difference that passes.
        error: the error that it raised, or empty.
    """

    kernel: str
    device: torch.device
    difference: float | None
    bound: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether the kernel may be used. A difference that is not a number does not pass."""
        return self.difference is not None and self.difference <= self.bound

    def __str__(self) -> str:
        found = (
            self.error or f"its result differs from plain torch by {self.difference:.2g}, more than {self.bound:.2g}"
        )
        return f"{self.kernel} on {self.device}: {found}"


def check_kernels(placement: Placement, shape: Shape, device: torch.device) -> tuple[KernelCheck, ...]:
    """Return the results of all chosen kernels that are not plain torch, once a process for equal arguments."""
    kernels, attention = placement.kernels, placement.attention
    key = (kernels.name, attention.name, placement.dtype, shape, device)
    if key not in _CHECKED:
        data = _TinyBatch(shape, placement.dtype, device)
        checks: list[KernelCheck] = []
        if kernels.kernels is not None:
            checks += (data.compare(f"Triton's {name}", kernels.kernels, run) for name, run in data.operations.items())
        if attention.gathers:
            checks.append(data.compare_attention(attention))
        _CHECKED[key] = tuple(checks)
    return _CHECKED[key]


def with_checked_kernels(placement: Placement, shape: Shape, devices: Sequence[torch.device]) -> Placement:
    """Return the placement with plain torch in place of kernels that fail on one of the devices, after a warning."""
    for device in devices:
        failed = [check for check in check_kernels(placement, shape, device) if not check.passed]
        if not failed:
            continue
        logger.warning(
            "The self-check of a kernel failed, so slower plain torch runs in its place: %s. Scores are not affected. "
            "Update the GPU's driver, torch and triton, or choose kernels='torch' and attention='sdpa' yourself.",
            "; ".join(map(str, failed)),
        )
        placement = _without(placement, failed, device)
        return with_checked_kernels(placement, shape, devices)  # attention gathered with the kernels that were replaced
    return placement


_CHECKED: dict[object, tuple[KernelCheck, ...]] = {}


def _without(placement: Placement, failed: Sequence[KernelCheck], device: torch.device) -> Placement:
    reason = "; ".join(map(str, failed))
    attention = placement.attention
    if placement.kernels.kernels is not None and any(check.kernel != attention.name for check in failed):
        if attention.gathers:
            attention = choose_attention(attention.name, device, placement.dtype)  # type: ignore[arg-type]
            attention = dataclasses.replace(attention, reason=placement.attention.reason)
        return dataclasses.replace(placement, kernels=KernelChoice("torch", reason), attention=attention)
    return dataclasses.replace(placement, attention=AttentionChoice("sdpa", reason, sdpa_attention))


class _TinyBatch:
    """Random inputs for every kernel: R tokens of two prefixes and their documents, in the sizes of a model."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        prefixes = range(0, 7), range(25, 29)
        documents = ((prefixes[0], range(7, 12)), (prefixes[0], range(12, 13)), (prefixes[0], range(13, 25)))
        segments = [Segment(queries=one, context=range(0), own=one) for one in prefixes]
        segments += [Segment(queries=own, context=context, own=own) for context, own in documents]
        segments.append(Segment(queries=range(29, 33), context=prefixes[1], own=range(29, 33)))
        segments.sort(key=lambda segment: segment.queries.start)
        rows = segments[-1].queries.stop

        def random(*sizes: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.randn(*sizes, generator=generator).to(device, dtype)

        self._device, self._dtype = device, dtype
        self._layout = AttentionLayout(tuple(segments), device)
        self._rows = torch.randint(rows, (2 * rows,), generator=generator, dtype=torch.int32).to(device)
        self._hidden, self._delta = random(rows, shape.hidden, dtype=torch.float32), random(rows, shape.hidden)
        self._weight, self._head_weight = random(shape.hidden), random(shape.head_dim)
        self._qkv = random(rows, shape.heads + 2 * shape.key_value_heads, shape.head_dim)
        self._heads = [shape.heads, shape.key_value_heads, shape.key_value_heads]
        angles = torch.randn(rows, 1, shape.head_dim // 2, generator=generator).repeat(1, 1, 2)
        self._rotation = angles.cos().to(device, dtype), angles.sin().to(device, dtype)
        self._gate_up = random(rows, 2 * shape.intermediate)
        self.operations: dict[str, Callable[[LayerKernels], Sequence[Tensor]]] = {
            "add_and_normalize": self._add_and_normalize,
            "normalize_and_rotate": self._normalize_and_rotate,
            "gate": self._gate,
            "gather": self._gather,
        }

    def compare(
        self, name: str, kernels: LayerKernels, operation: Callable[[LayerKernels], Sequence[Tensor]]
    ) -> KernelCheck:
        """Run one operation with kernels and in plain torch."""
        return self._result(name, lambda: (operation(kernels), operation(TorchKernels())))

    def compare_attention(self, choice: AttentionChoice) -> KernelCheck:
        """Run an attention kernel, and SDPA in float32 on the same numbers."""

        def attend(kernel: Attention, dtype: torch.dtype) -> Sequence[Tensor]:
            query, key, value = torch.split(self._qkv.to(dtype), self._heads, dim=1)
            return (kernel(query, key, value, self._layout, query.shape[-1] ** -0.5),)

        return self._result(
            choice.name, lambda: (attend(choice.attend, self._dtype), attend(sdpa_attention, torch.float32))
        )

    def _result(self, name: str, run: Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]]) -> KernelCheck:
        bound = BOUNDS[self._dtype]
        try:
            with torch.inference_mode():
                pairs = [(one.float(), other.float()) for one, other in zip(*run(), strict=True)]
                shares = [(one - other).abs().max() / other.abs().max() for one, other in pairs]
                difference = float(torch.stack(shares).max())  # not a number if any of them is not
        except Exception as error:  # compilers and drivers raise their own types
            return KernelCheck(name, self._device, None, bound, f"{type(error).__name__}: {one_line(error)}")
        return KernelCheck(name, self._device, difference, bound)

    def _add_and_normalize(self, kernels: LayerKernels) -> Sequence[Tensor]:
        hidden = self._hidden.clone()
        first = kernels.add_and_normalize(hidden, self._delta, self._weight, _EPSILON, self._dtype)
        return hidden, first, kernels.add_and_normalize(hidden, None, self._weight, _EPSILON, self._dtype)

    def _normalize_and_rotate(self, kernels: LayerKernels) -> Sequence[Tensor]:
        qkv = self._qkv.clone()
        query, key, _ = torch.split(qkv, self._heads, dim=1)
        kernels.normalize_and_rotate(query, key, self._head_weight, self._head_weight, _EPSILON, *self._rotation)
        kernels.normalize_and_rotate(None, key, self._head_weight, self._head_weight, _EPSILON, *self._rotation)
        return (qkv,)

    def _gate(self, kernels: LayerKernels) -> Sequence[Tensor]:
        gate_up = self._gate_up.clone()
        kernels.gate(*gate_up.chunk(2, dim=1))
        return (gate_up,)

    def _gather(self, kernels: LayerKernels) -> Sequence[Tensor]:
        _, key, value = torch.split(self._qkv, self._heads, dim=1)
        return kernels.gather(key, value, self._rows)
