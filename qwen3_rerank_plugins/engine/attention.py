"""Causal attention over segments of a packed row: one signature, several kernels, chosen by argument.

Comes in: queries, keys and values of all tokens, and an `AttentionLayout`. Goes out: the attended values.
Must not know: layers, weights, scores.

Shapes: Tq query rows, T key/value rows, H query heads, G key/value heads (H a multiple of G), D head_dim.
Grouped-query attention: query head h reads key/value head h // (H // G).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn import functional

from qwen3_rerank_plugins.engine.layout import AttentionLayout, Bundle
from qwen3_rerank_plugins.engine.settings import AttentionName
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError


class Attention(Protocol):
    """The one signature of every kernel."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        """[Tq, H, D], [T, G, D], [T, G, D] -> [Tq, H, D]."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionChoice:
    """A kernel, its name, and why it was chosen."""

    name: str
    reason: str
    attend: Attention


def choose_attention(name: AttentionName, device: torch.device, dtype: torch.dtype) -> AttentionChoice:
    """Pick the kernel for a device and dtype; "auto" takes flash attention wherever it can run.

    Raises:
        SettingsError: a kernel was asked for by name that cannot run here.
        MissingExtraError: "flash_attn" was asked for and is not installed.
    """
    obstacle = _flash_obstacle(device, dtype)
    if name == "auto":
        return _choose_freely(obstacle)
    if name == "sdpa":
        return AttentionChoice(name, "asked for", sdpa_attention)
    attend = None if obstacle else (_load_varlen() if name == "varlen" else _load_flash_attn())
    if attend is None:
        reason = obstacle or f"torch {torch.__version__} has no varlen attention, 2.10 and later have"
        raise SettingsError(f"attention={name!r} cannot run here: {reason}. Use attention='auto'.")
    return AttentionChoice(name, "asked for", attend)


def _choose_freely(obstacle: str | None) -> AttentionChoice:
    if obstacle:
        return AttentionChoice("sdpa", obstacle, sdpa_attention)
    varlen = _load_varlen()
    if varlen is not None:
        return AttentionChoice("varlen", "flash attention inside torch", varlen)
    missing = f"torch {torch.__version__} has no varlen attention"
    if importlib.util.find_spec("flash_attn") is not None:
        return AttentionChoice("flash_attn", missing, _load_flash_attn())
    return AttentionChoice("sdpa", f"{missing} and flash-attn is not installed", sdpa_attention)


def sdpa_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """Bundle by bundle through torch's scaled_dot_product_attention: any device, any dtype."""
    attended = torch.empty_like(query)
    for bundle in layout.bundles:
        attend = _choose_way(bundle)
        attend(query[bundle.rows], key, value, bundle, scale, attended[bundle.rows])
    return attended


_CAUSAL_WORTHWHILE = 1280
"""Query rows; with fewer, blocks are faster."""
_CPU_BLOCK = 128
"""Query rows of a block on a CPU: the masked part of the work is small then, the matrices large enough."""
_BLOCK = 1024
"""The same elsewhere: few large kernels, and a mask that does not grow with the square of a document."""


class _Way(Protocol):
    """One bundle's attention: [R, H, D], [T, G, D], [T, G, D] -> `attended`, [R, H, D]."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bundle: Bundle,
        scale: float,
        attended: torch.Tensor,
    ) -> None: ...


def _choose_way(bundle: Bundle) -> _Way:
    # a long document may leave out the masked half, which pays for computing what stands before it again
    alone = len(bundle.segments) == 1
    causal = alone and bundle.queries >= _CAUSAL_WORTHWHILE and bundle.queries > 4 * bundle.before
    return _attend_causally if causal else _attend_in_blocks


def _attend_in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bundle: Bundle, scale: float, attended: torch.Tensor
) -> None:
    """Some queries of all segments at a time, over what they may see; short segments are padded to the longest.

    The query heads that share a key/value head stand below each other as rows of one matrix, L * H/G of them, so that
    keys and values are neither repeated nor read more than once. Few kernels for many documents, as between two of them
    the threads of a CPU wait for each other: long, where another thread of the process uses torch too.
    """
    groups, size = key.shape[1:]
    group = query.shape[1] // groups
    count, longest = len(bundle.segments), bundle.queries
    keys, values = (
        _gather(states, bundle).view(count, -1, groups, size).transpose(1, 2).contiguous() for states in (key, value)
    )  # [B, G, K, D]
    padded = query if count == 1 else query.index_select(0, bundle.query_rows)
    folded = padded.view(count, longest, groups, group, size).transpose(1, 2).reshape(count, groups, -1, size)
    most = _CPU_BLOCK if query.device.type == "cpu" else _BLOCK
    step = math.ceil(longest / math.ceil(longest / most))  # equal ones leave out most
    found = []
    for start in range(0, longest, step):
        stop = min(start + step, longest)
        seen = bundle.before + stop
        mask = None
        if stop - start > 1:
            mask = _causal_mask(stop - start, bundle.before + start, seen, query.device).repeat_interleave(group, 0)
        block = functional.scaled_dot_product_attention(
            folded[:, :, start * group : stop * group],
            keys[:, :, :seen],
            values[:, :, :seen],
            attn_mask=mask,
            scale=scale,
        )
        found.append(block.transpose(1, 2).view(count, -1, group, groups, size))  # [B, rows, H/G, G, D]
    by_row = torch.cat(found, 1) if len(found) > 1 else found[0]
    attended.copy_((by_row[0] if count == 1 else by_row[bundle.places]).transpose(1, 2).flatten(1, 2))


def _gather(states: torch.Tensor, bundle: Bundle) -> torch.Tensor:
    """[T, G, D] -> [B * K, G, D]: the key rows of all segments, padded to the longest."""
    if len(bundle.segments) > 1:
        return states.index_select(0, bundle.key_rows)
    # no index: those of a thousand documents behind a long prefix would take more memory than all keys
    return torch.cat([states[piece.start : piece.stop] for piece in bundle.segments[0].pieces])


def _causal_mask(rows: int, before: int, keys: int, device: torch.device) -> torch.Tensor:
    """[rows, keys] bool: the first row sees `before` keys and its own, each later one a key more."""
    return torch.ones(rows, keys, dtype=torch.bool, device=device).tril(before)


def _attend_causally(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bundle: Bundle, scale: float, attended: torch.Tensor
) -> None:
    """One segment by the kernel's own causal mask, one key/value head at a time, so that copies of it stay small.

    torch aligns that mask at the top left: rows of zeros in front make top left and bottom right the same.
    """
    (segment,) = bundle.segments
    before = segment.keys - len(query)
    group = query.shape[1] // key.shape[1]
    for head in range(key.shape[1]):
        heads = slice(head * group, (head + 1) * group)
        keys, values = (
            torch.cat([states[piece.start : piece.stop, head] for piece in segment.pieces]).expand(1, group, -1, -1)
            for states in (key, value)
        )
        padded = functional.pad(query[:, heads].transpose(0, 1), (0, 0, before, 0))  # [H/G, K, D]
        found = functional.scaled_dot_product_attention(padded[None], keys, values, is_causal=True, scale=scale)
        attended[:, heads] = found[0, :, before:].transpose(0, 1)


def adapt_varlen(varlen_attn: Callable[..., Any]) -> Attention:
    """Fit torch's varlen_attn to our signature, whichever of its signatures this torch has.

    torch 2.10 says `is_causal`; 2.11 says `window_size` and takes `scale`; 2.12 and later add `enable_gqa` and
    `num_splits`. Where `scale` is missing the kernel's own 1/sqrt(D) must be what is asked for; where `enable_gqa` is
    missing the key/value heads are repeated. `num_splits=1` makes the result independent of the rest of the batch.
    """
    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "num_splits" in known:
        options["num_splits"] = 1
    grouped = "enable_gqa" in known

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        if "scale" in known:
            options["scale"] = scale
        elif abs(scale * query.shape[-1] ** 0.5 - 1) > 1e-6:
            raise SettingsError(f"This torch's varlen attention cannot scale by {scale}. Use attention='sdpa'.")
        group = query.shape[1] // key.shape[1]
        if grouped:
            options["enable_gqa"] = group > 1
        elif group > 1:
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        attended: torch.Tensor = varlen_attn(
            query,
            key[layout.key_rows],
            value[layout.key_rows],
            layout.cumulative_queries,
            layout.cumulative_keys,
            layout.longest_query,
            layout.longest_key,
            **options,
        )
        return attended

    return attend


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

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        attended: torch.Tensor = flash_attn_varlen_func(
            query,
            key[layout.key_rows],
            value[layout.key_rows],
            layout.cumulative_queries,
            layout.cumulative_keys,
            layout.longest_query,
            layout.longest_key,
            softmax_scale=scale,
            causal=True,
        )
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
