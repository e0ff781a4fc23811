"""Attention through torch's scaled_dot_product_attention, on any device and in any dtype.

Shapes are those of `attention`: Tq query rows, T key/value rows, H query heads, G key/value heads, D head_dim.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch.nn import functional

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, PaddedGroup


def sdpa_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """PaddedGroup by bundle through torch's scaled_dot_product_attention: any device, any dtype."""
    attended = torch.empty_like(query)
    for bundle in layout.padded_groups:
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
        bundle: PaddedGroup,
        scale: float,
        attended: torch.Tensor,
    ) -> None: ...


def _choose_way(bundle: PaddedGroup) -> _Way:
    # a long document may leave out the masked half, which pays for computing what stands before it again
    alone = len(bundle.segments) == 1
    causal = alone and bundle.queries >= _CAUSAL_WORTHWHILE and bundle.queries > 4 * bundle.before
    return _attend_causally if causal else _attend_in_blocks


def _attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bundle: PaddedGroup,
    scale: float,
    attended: torch.Tensor,
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
    attended.copy_((by_row[0] if count == 1 else by_row[bundle.segment_and_offset]).transpose(1, 2).flatten(1, 2))


def _gather(states: torch.Tensor, bundle: PaddedGroup) -> torch.Tensor:
    """[T, G, D] -> [B * K, G, D]: the key rows of all segments, padded to the longest."""
    if len(bundle.segments) > 1:
        return states.index_select(0, bundle.kv_indices)
    # no index: those of a thousand documents behind a long prefix would take more memory than all keys
    return torch.cat([states[piece.start : piece.stop] for piece in bundle.segments[0].key_ranges])


def _causal_mask(rows: int, before: int, keys: int, device: torch.device) -> torch.Tensor:
    """[rows, keys] bool: the first row sees `before` keys and its own, each later one a key more."""
    return torch.ones(rows, keys, dtype=torch.bool, device=device).tril(before)


def _attend_causally(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bundle: PaddedGroup,
    scale: float,
    attended: torch.Tensor,
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
            torch.cat([states[piece.start : piece.stop, head] for piece in segment.key_ranges]).expand(1, group, -1, -1)
            for states in (key, value)
        )
        padded = functional.pad(query[:, heads].transpose(0, 1), (0, 0, before, 0))  # [H/G, K, D]
        found = functional.scaled_dot_product_attention(padded[None], keys, values, is_causal=True, scale=scale)
        attended[:, heads] = found[0, :, before:].transpose(0, 1)
