"""Choose the attention kernel, and call every flash attention with the same signature as SDPA.

Shapes: Tq query rows, T key/value rows, H query heads, G key/value heads (H a multiple of G), D head_dim.
Grouped-query attention: query head h reads key/value head h // (H // G).
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from qwen3_rerank_plugins._printable import logger, one_line
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout
from qwen3_rerank_plugins.engine.model.matmul_attention import matmul_attention
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.model.varlen import VarlenCall, varlen_calls
from qwen3_rerank_plugins.engine.settings import AttentionName
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError


class Attention(Protocol):
    """The signature of every kernel: causal attention over the segments of a layout."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
        """[Tq, H, D], [T, G, D], [T, G, D] -> [Tq, H, D]."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionChoice:
    """A kernel, its name, and the reason for choosing it."""

    name: str
    reason: str
    attend: Attention

    @property
    def gathers(self) -> bool:
        """Whether the kernel takes the arguments of `varlen_calls`, which copy keys and values."""
        return self.name in FLASH_KERNELS


Gather = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes keys and values, [T, G, D] each, and the indices of K rows; returns those rows, [K, G, D] each."""


def gather_rows(key: Tensor, value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Gather keys and values in torch's operations; `LayerKernels.gather` may have one kernel for both."""
    return key[rows], value[rows]


def choose_attention(
    name: AttentionName,
    device: torch.device,
    dtype: torch.dtype,
    gather: Gather = gather_rows,
    *,
    fast_products: bool = False,
) -> AttentionChoice:
    """Choose the kernel for a device and dtype; "auto" prefers flash attention wherever it can run.

    SDPA computes 16-bit attention on a CPU without the instructions that multiply in 16 bits. So where products in the
    dtype are fast on a CPU, "auto" prefers attention in matrix products.

    Args:
        name: as in the settings.
        device: where the model runs.
        dtype: dtype of queries, keys and values.
        gather: copies the keys and values of each segment into one piece, for flash attention.
        fast_products: whether a CPU has 16-bit matrix products that are much faster than those in float32.

    Raises:
        SettingsError: the kernel of this name cannot run here.
        MissingExtraError: the package of this kernel is not installed.
    """
    if name == "auto":
        if device.type == "cpu" and fast_products:
            return AttentionChoice("matmul", "matrix products in 16 bits are fast here", matmul_attention)
        return _choose_automatically(device, dtype, gather)
    if name == "sdpa":
        return AttentionChoice(name, "asked for", sdpa_attention)
    if name == "matmul":
        if device.type != "cpu":
            raise SettingsError(f"attention='matmul' is for CPUs, this is {device.type}. Use attention='auto'.")
        return AttentionChoice(name, "asked for", matmul_attention)
    kernel = FLASH_KERNELS[name]
    obstacle = kernel.obstacle(device, dtype)
    if obstacle:
        raise SettingsError(f"attention={name!r} cannot run here: {obstacle}. Use attention='auto'.")
    if not kernel.is_installed():
        raise MissingExtraError(kernel.package, kernel.extra)
    return AttentionChoice(name, "asked for", kernel.load(gather))


def _choose_automatically(device: torch.device, dtype: torch.dtype, gather: Gather) -> AttentionChoice:
    """Choose the first installed kernel that runs here and loads; SDPA runs everywhere."""
    reasons = []
    for name, kernel in FLASH_KERNELS.items():
        if obstacle := kernel.obstacle(device, dtype):
            reasons.append(obstacle)
        elif not kernel.is_installed():
            reasons.append(kernel.absence)
        else:
            try:
                return AttentionChoice(name, kernel.description, kernel.load(gather))
            except Exception as error:  # for instance a package that was built for another torch
                reasons.append(f"{kernel.package} does not load: {type(error).__name__}: {one_line(error)}")
                logger.warning("%s. Another attention kernel takes its place.", reasons[-1])
    general = FLASH_KERNELS["varlen"].obstacle(device, dtype)
    return AttentionChoice("sdpa", general or "; ".join(reasons), sdpa_attention)


def adapt_varlen(varlen_attn: Callable[..., Any], gather: Gather = gather_rows) -> Attention:
    """Adapt torch's varlen_attn to `Attention`, whichever of its signatures this torch has.

    torch 2.10 has `is_causal`; 2.11 has `window_size` and `scale` instead; 2.12 and later add `enable_gqa` and
    `num_splits`. torch 2.10 wants as many key/value heads as query heads and only scales by 1/sqrt(D). 2.11 reads
    grouped heads without being told. `num_splits=1` makes the result independent of the rest of the batch.
    """
    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "num_splits" in known:
        options["num_splits"] = 1

    def attend_call(query: Tensor, key: Tensor, value: Tensor, call: VarlenCall, scale: float) -> Tensor:
        group = query.shape[1] // key.shape[1]
        chosen = dict(options)
        if "scale" in known:
            chosen["scale"] = scale
        elif abs(scale * query.shape[-1] ** 0.5 - 1) > 1e-6:
            raise SettingsError(f"This torch's varlen attention cannot scale by {scale}. Use attention='sdpa'.")
        if "enable_gqa" in known:
            chosen["enable_gqa"] = group > 1
        elif "is_causal" in known:
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        lengths = call.cu_seqlens_q, call.cu_seqlens_k, call.max_seqlen_q, call.max_seqlen_k
        attended: Tensor = varlen_attn(query, key, value, *lengths, **chosen)
        return attended

    return _in_calls(attend_call, gather)


def adapt_flash_attn(varlen_func: Callable[..., Any], gather: Gather = gather_rows) -> Attention:
    """Adapt the `flash_attn_varlen_func` of FlashAttention 2, 3 or 4 to `Attention`."""

    def attend_call(query: Tensor, key: Tensor, value: Tensor, call: VarlenCall, scale: float) -> Tensor:
        found: Tensor | tuple[Tensor, ...] = varlen_func(
            query,
            key,
            value,
            cu_seqlens_q=call.cu_seqlens_q,
            cu_seqlens_k=call.cu_seqlens_k,
            max_seqlen_q=call.max_seqlen_q,
            max_seqlen_k=call.max_seqlen_k,
            softmax_scale=scale,
            causal=True,
        )
        return found[0] if isinstance(found, tuple) else found  # version 4 also returns the log-sum-exp

    return _in_calls(attend_call, gather)


def _in_calls(attend_call: Callable[[Tensor, Tensor, Tensor, VarlenCall, float], Tensor], gather: Gather) -> Attention:
    def attend(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
        calls = layout.derive(varlen_calls)
        if len(calls) == 1:
            return attend_call(query, *gather(key, value, calls[0].kv_indices), calls[0], scale)
        attended = torch.empty_like(query)
        for call in calls:
            keys_values = gather(key, value, call.kv_indices)
            attended[call.rows] = attend_call(query[call.rows], *keys_values, call, scale)
            del keys_values  # before those of the next call are gathered
        return attended

    return attend


@dataclasses.dataclass(frozen=True, slots=True)
class FlashKernel:
    """A flash attention kernel, and where it can run.

    Attributes:
        description: why "auto" chooses it.
        package: the distribution that contains it, in words for messages.
        extra: the extra that installs it.
        dtypes: what it computes in.
        majors: the major compute capabilities that it is made for; empty for all from 8 on.
        module: the module with `flash_attn_varlen_func`; empty for torch's own kernel.
    """

    description: str
    package: str
    extra: str
    dtypes: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16)
    majors: tuple[int, ...] = ()
    module: str = ""

    def obstacle(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Return why the kernel cannot run on a device in a dtype, or None."""
        if device.type != "cuda":
            return f"flash attention needs a CUDA device, this is {device.type}"
        if dtype not in self.dtypes:
            needed = " or ".join(str(one).removeprefix("torch.") for one in reversed(self.dtypes))
            return f"{self.package} flash attention needs {needed}, this is {str(dtype).removeprefix('torch.')}"
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            return f"flash attention needs compute capability 8.0, this device has {major}.{minor}"
        if self.majors and major not in self.majors:
            wanted = " or ".join(f"{one}.x" for one in self.majors)
            return f"{self.package} is made for compute capability {wanted}, this device has {major}.{minor}"
        return None

    @property
    def absence(self) -> str:
        """That the kernel is not installed, in words."""
        return (
            f"{self.package} is not installed" if self.module else f"torch {torch.__version__} has no flash attention"
        )

    def is_installed(self) -> bool:
        """Whether the kernel is there. Nothing but torch is imported for the answer."""
        if not self.module:
            return importlib.util.find_spec("torch.nn.attention.varlen") is not None
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def load(self, gather: Gather) -> Attention:
        """Import the kernel."""
        if not self.module:
            from torch.nn.attention.varlen import varlen_attn

            return adapt_varlen(varlen_attn, gather)
        return adapt_flash_attn(importlib.import_module(self.module).flash_attn_varlen_func, gather)


FLASH_KERNELS: dict[str, FlashKernel] = {
    "fa3": FlashKernel(
        "FlashAttention 3, made for this chip", "fa3-fwd", "fa3", (torch.bfloat16,), (9,), "fa3_fwd_interface"
    ),
    "fa4": FlashKernel(
        "FlashAttention 4, made for this chip", "flash-attn-4", "fa4", majors=(9, 10, 11, 12), module="flash_attn.cute"
    ),
    "varlen": FlashKernel("flash attention inside torch", "torch", ""),
    "flash_attn": FlashKernel("FlashAttention 2, as this torch has none", "flash-attn", "flash", module="flash_attn"),
}
"""By name in the settings, in the order in which "auto" tries them."""
