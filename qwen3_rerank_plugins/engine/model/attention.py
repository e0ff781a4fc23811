"""Choose the attention kernel, and call torch's and flash-attn's flash attention with the same signature as SDPA.

Shapes: Tq query rows, T key/value rows, H query heads, G key/value heads (H a multiple of G), D head_dim.
Grouped-query attention: query head h reads key/value head h // (H // G).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
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


def choose_attention(name: AttentionName, device: torch.device, dtype: torch.dtype) -> AttentionChoice:
    """Choose the kernel for a device and dtype; "auto" prefers flash attention wherever it can run.

    Raises:
        SettingsError: the kernel of this name cannot run here.
        MissingExtraError: `name` is "flash_attn", and flash-attn is not installed.
    """
    obstacle = _flash_obstacle(device, dtype)
    if name == "auto":
        return _choose_automatically(obstacle)
    if name == "sdpa":
        return AttentionChoice(name, "asked for", sdpa_attention)
    attend = None if obstacle else (_load_varlen() if name == "varlen" else _load_flash_attn())
    if attend is None:
        reason = obstacle or f"torch {torch.__version__} has no varlen attention, only 2.10 and later do"
        raise SettingsError(f"attention={name!r} cannot run here: {reason}. Use attention='auto'.")
    return AttentionChoice(name, "asked for", attend)


def _choose_automatically(obstacle: str | None) -> AttentionChoice:
    if obstacle:
        return AttentionChoice("sdpa", obstacle, sdpa_attention)
    varlen = _load_varlen()
    if varlen is not None:
        return AttentionChoice("varlen", "flash attention inside torch", varlen)
    missing = f"torch {torch.__version__} has no varlen attention"
    if importlib.util.find_spec("flash_attn") is not None:
        return AttentionChoice("flash_attn", missing, _load_flash_attn())
    return AttentionChoice("sdpa", f"{missing} and flash-attn is not installed", sdpa_attention)


def adapt_varlen(varlen_attn: Callable[..., Any]) -> Attention:
    """Adapt torch's varlen_attn to `Attention`, whichever of its signatures this torch has.

    torch 2.10 has `is_causal`; 2.11 has `window_size` and `scale` instead; 2.12 and later add `enable_gqa` and
    `num_splits`. Without `scale`, the kernel only scales by 1/sqrt(D). Without `enable_gqa`, the key/value heads are
    repeated. `num_splits=1` makes the result independent of the rest of the batch.
    """
    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "num_splits" in known:
        options["num_splits"] = 1
    grouped = "enable_gqa" in known

    def attend(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
        if "scale" in known:
            options["scale"] = scale
        elif abs(scale * query.shape[-1] ** 0.5 - 1) > 1e-6:
            raise SettingsError(f"This torch's varlen attention cannot scale by {scale}. Use attention='sdpa'.")
        group = query.shape[1] // key.shape[1]
        if grouped:
            options["enable_gqa"] = group > 1
        elif group > 1:
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        attended: Tensor = varlen_attn(*_flash_arguments(query, key, value, layout), **options)
        return attended

    return attend


def _flash_arguments(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout) -> tuple[Any, ...]:
    """Return the positional arguments that both flash kernels take."""
    key, value = key[layout.kv_indices], value[layout.kv_indices]
    lengths = layout.cu_seqlens_q, layout.cu_seqlens_k, layout.max_seqlen_q, layout.max_seqlen_k
    return query, key, value, *lengths


def _load_varlen() -> Attention | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return adapt_varlen(varlen_attn)


def _load_flash_attn() -> Attention:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        raise MissingExtraError("flash-attn", "flash") from error

    def attend(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
        arguments = _flash_arguments(query, key, value, layout)
        attended: Tensor = flash_attn_varlen_func(*arguments, softmax_scale=scale, causal=True)
        return attended

    return attend


def _flash_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return f"flash attention needs a CUDA device, this is {device.type}"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"flash attention needs float16 or bfloat16, this is {str(dtype).removeprefix('torch.')}"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"flash attention needs compute capability 8.0, this device has {major}.{minor}"
    return None
