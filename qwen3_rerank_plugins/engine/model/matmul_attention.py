"""Attention of a CPU in batched matrix products and a softmax, which run at the rate of the layers' other products.

Scores of one block of query rows exist at a time, and only for keys that the block may see, so the masked half of a
long document is never computed.

Shapes as in `attention`: Tq query rows, T key/value rows, H query heads, G key/value heads, D head_dim; S = H/G query
heads share a key/value head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, PaddedGroup

_BLOCK = 128
"""Query rows of a block: little of the work is masked, and the matrices are large enough."""
_SCORES = 2**20
"""Most scores of a block of several key/value heads: few enough for the CPU's cache."""


def matmul_attention(query: Tensor, key: Tensor, value: Tensor, layout: AttentionLayout, scale: float) -> Tensor:
    """Return the attention of all segments, [Tq, H, D], computed one padded group at a time."""
    attended = torch.empty_like(query)
    for group in layout.padded_groups:
        attend = _attend_one if len(group.segments) == 1 else _attend_several
        attend(query[group.rows], key, value, group, scale, attended[group.rows])
    return attended


def _attend_one(query: Tensor, key: Tensor, value: Tensor, group: PaddedGroup, scale: float, attended: Tensor) -> None:
    """Compute one segment, block by block, for as many key/value heads at a time as the cache has room for."""
    (segment,) = group.segments
    rows, sharing = len(query), query.shape[1] // key.shape[1]
    keys, values = (_joined(states, segment.key_ranges).transpose(0, 1) for states in (key, value))  # [G, K, D]
    grouped = (len(query), -1, sharing, query.shape[2])
    queries, results = query.view(grouped).transpose(0, 1), attended.view(grouped).transpose(0, 1)  # [G, Tq, S, D]
    step = math.ceil(rows / math.ceil(rows / _BLOCK))  # equal blocks skip the most masked work
    hidden = _hidden_keys(step, sharing, query.device)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        visible = group.before + stop
        together = max(1, _SCORES // ((stop - start) * sharing * visible))
        for first in range(0, len(keys), together):
            heads = slice(first, first + together)
            block = queries[heads, start:stop].flatten(1, 2)  # [G, rows * S, D]
            unseen = hidden[: (stop - start) * sharing, : stop - start]
            weights = _softmax(block, keys[heads, :visible], unseen, scale)
            block = torch.bmm(weights, values[heads, :visible])
            results[heads, start:stop] = block.view(len(block), stop - start, sharing, -1)


def _attend_several(
    query: Tensor, key: Tensor, value: Tensor, group: PaddedGroup, scale: float, attended: Tensor
) -> None:
    """Compute short segments together, padded to the longest: they have so few keys that all of them fit a block."""
    kv_heads, size = key.shape[1:]
    sharing, count, longest = query.shape[1] // kv_heads, len(group.segments), group.queries
    keys, values = (
        states.index_select(0, group.kv_indices).view(count, -1, kv_heads, size).transpose(1, 2).flatten(0, 1)
        for states in (key, value)
    )  # [B * G, K, D]
    padded = query.index_select(0, group.query_rows).view(count, longest, kv_heads, sharing, size)
    padded = padded.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [B * G, L * S, D]
    weights = _softmax(padded, keys, _hidden_keys(longest, sharing, query.device), scale)
    results = torch.bmm(weights, values).view(count, kv_heads, longest, sharing, size).transpose(1, 2)
    attended.copy_(results[group.segment_and_offset].flatten(1, 2))


def _softmax(queries: Tensor, keys: Tensor, hidden: Tensor, scale: float) -> Tensor:
    """Return the softmax of scaled scores: [B, R, D] and [B, K, D] to [B, R, K].

    Args:
        queries: the queries.
        keys: the keys.
        hidden: [R, N] bool, which of the last N keys each row must not see. All rows see the keys before them.
        scale: factor of the scores.
    """
    scores = torch.empty(len(queries), queries.shape[1], keys.shape[1], dtype=queries.dtype, device=queries.device)
    torch.baddbmm(scores, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=scores)
    scores[:, :, -hidden.shape[1] :].masked_fill_(hidden, -torch.inf)
    return torch.softmax(scores, dim=-1, out=scores)


def _hidden_keys(rows: int, sharing: int, device: torch.device) -> Tensor:
    """Return [rows * S, rows] bool: the later keys of a block, which its rows must not see."""
    return torch.ones(rows, rows, dtype=torch.bool, device=device).triu(1).repeat_interleave(sharing, 0)


def _joined(states: Tensor, ranges: tuple[range, ...]) -> Tensor:
    """Return rows of keys or values, [K, G, D], without a copy if they are neighbors."""
    parts = [states[rows.start : rows.stop] for rows in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
