"""Attention through torch's scaled_dot_product_attention, on any device and in any dtype.

Shapes as in `attention`: Tq query rows, T key/value rows, H query heads, G key/value heads, D head_dim.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, PaddedGroup

_CAUSAL_WORTHWHILE = 1280
"""Query rows; with fewer, blocks are faster."""
_CPU_BLOCK = 128
"""Query rows of a block on a CPU: little of the work is masked, and the matrices are large enough."""
_BLOCK = 1024
"""Query rows of a block elsewhere: few large kernels, and a mask that does not grow with the square of a document."""


def sdpa_attention(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
    """Return the attention of all segments, [Tq, H, D], computed one padded group at a time."""
    attended = torch.empty_like(query)
    for group in layout.padded_groups:
        # a long document may skip the masked half, which pays for computing the rows before it again
        single = len(group.segments) == 1
        causal = single and group.queries >= _CAUSAL_WORTHWHILE and group.queries > 4 * group.before
        attend = _attend_causally if causal else _attend_in_blocks
        attend(query[group.rows], key, value, group, scale, attended[group.rows])
    return attended


def _attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, group: PaddedGroup, scale: float, attended: Tensor
) -> None:
    """Compute a block of query rows of all segments at a time, padding short segments to the longest.

    The query heads of one key/value head are rows of one matrix, L * H/G of them, so keys and values are neither
    repeated nor read more than once. Few kernels serve many documents, because the threads of a CPU wait for each other
    between two kernels, and wait long if another thread of the process uses torch too.
    """
    kv_heads, size = key.shape[1:]
    sharing = query.shape[1] // kv_heads  # H/G, query heads per key/value head
    count, longest = len(group.segments), group.queries
    keys, values = (
        _gather(states, group).view(count, -1, kv_heads, size).transpose(1, 2).contiguous() for states in (key, value)
    )  # [B, G, K, D]
    heads = kv_heads, sharing, size
    padded = (query if count == 1 else query.index_select(0, group.query_rows)).view(count, longest, *heads)
    results = attended.view(1, longest, *heads) if count == 1 else attended.new_empty(count, longest, *heads)
    most = _CPU_BLOCK if query.device.type == "cpu" else _BLOCK
    step = math.ceil(longest / math.ceil(longest / most))  # equal blocks skip the most masked work
    for start in range(0, longest, step):
        stop = min(start + step, longest)
        visible = group.before + stop
        mask = None
        if stop - start > 1:
            # [rows, keys] bool: the first row attends to the keys before it and its own, each later row to one more
            mask = torch.ones(stop - start, visible, dtype=torch.bool, device=query.device).tril(group.before + start)
            mask = mask.repeat_interleave(sharing, 0)
        block = functional.scaled_dot_product_attention(
            padded[:, start:stop].transpose(1, 2).flatten(2, 3),  # [B, G, rows * H/G, D]
            keys[:, :, :visible],
            values[:, :, :visible],
            attn_mask=mask,
            scale=scale,
        )
        results[:, start:stop] = torch.unflatten(block, 2, (stop - start, sharing)).transpose(1, 2)
    if count > 1:
        attended.copy_(results[group.segment_and_offset].flatten(1, 2))


def _gather(states: Tensor, group: PaddedGroup) -> Tensor:
    """Return the key rows of all segments, padded to the longest: [T, G, D] to [B * K, G, D]."""
    if len(group.segments) > 1:
        return states.index_select(0, group.kv_indices)
    # no index, because those of a thousand documents behind a long prefix would take more memory than all keys
    return torch.cat([states[rows.start : rows.stop] for rows in group.segments[0].key_ranges])


def _attend_causally(
    query: Tensor, key: Tensor, value: Tensor, group: PaddedGroup, scale: float, attended: Tensor
) -> None:
    """Use the kernel's causal mask for one segment, one key/value head at a time, so that copies stay small.

    torch aligns that mask at the top left. Rows of zeros in front make top left and bottom right the same.
    """
    (segment,) = group.segments
    before = segment.keys - len(query)
    sharing = query.shape[1] // key.shape[1]
    for head in range(key.shape[1]):
        heads = slice(head * sharing, (head + 1) * sharing)
        keys, values = (
            torch.cat([states[rows.start : rows.stop, head] for rows in segment.key_ranges]).expand(1, sharing, -1, -1)
            for states in (key, value)
        )
        padded = functional.pad(query[:, heads].transpose(0, 1), (0, 0, before, 0))  # [H/G, K, D]
        result = functional.scaled_dot_product_attention(padded[None], keys, values, is_causal=True, scale=scale)
        attended[:, heads] = result[0, :, before:].transpose(0, 1)
        del keys, values, padded, result  # before those of the next head are made
