"""The arguments of flash attention kernels: cumulative lengths, and which rows of keys and values to gather.

A kernel wants the keys of each segment in one piece, so those of a prefix are copied for each of its documents. Behind
a prefix of thousands of tokens, the copies for all short documents would be far larger than anything else in the pass.
So a layout is computed in several calls if needed, each with a limited number of keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment

KEYS_PER_TOKEN = 2
"""Most keys that one call gathers for each token of the batch, unless a single segment has more."""


@dataclasses.dataclass(frozen=True, slots=True)
class VarlenCall:
    """The arguments of one kernel call, for S neighboring segments with K keys altogether.

    Attributes:
        rows: the query rows of the segments.
        cu_seqlens_q: [S + 1] int32, where the query rows of each segment start, counted from the first of the call.
        cu_seqlens_k: [S + 1] int32, where the keys of each segment start among the K.
        kv_indices: [K] int32, the rows to gather; those of a context repeat for every segment that attends to it.
        max_seqlen_q: query rows of the longest segment.
        max_seqlen_k: keys of the longest segment.
    """

    rows: slice
    cu_seqlens_q: torch.Tensor
    cu_seqlens_k: torch.Tensor
    kv_indices: torch.Tensor
    max_seqlen_q: int
    max_seqlen_k: int

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All index tensors, in the order of the fields."""
        return self.cu_seqlens_q, self.cu_seqlens_k, self.kv_indices

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> VarlenCall:
        """Return a copy with other index tensors, in the order of the fields."""
        cu_seqlens_q, cu_seqlens_k, kv_indices = tensors
        return dataclasses.replace(self, cu_seqlens_q=cu_seqlens_q, cu_seqlens_k=cu_seqlens_k, kv_indices=kv_indices)


def varlen_calls(layout: AttentionLayout) -> tuple[VarlenCall, ...]:
    """Return the calls that compute a layout, in the order of its segments, with tensors on the layout's device."""
    keys = np.array([segment.keys for segment in layout.segments])
    most = KEYS_PER_TOKEN * layout.key_rows
    calls = []
    first = 0
    ends = np.cumsum(keys)
    while first < len(keys):
        before = ends[first] - keys[first]
        stop = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        calls.append(_call(layout.segments[first:stop], layout.device))
        first = stop
    return tuple(calls)


@dataclasses.dataclass(frozen=True, slots=True)
class Gathering:
    """What the calls for a layout keep in memory.

    Attributes:
        keys: most keys that a call gathers.
        indices: keys that all calls gather, whose indices are there all the time.
        rows: query rows of the largest call, whose result is copied; 0 if there is only one call.
    """

    keys: int
    indices: int
    rows: int

    @classmethod
    def of(cls, calls: Sequence[VarlenCall]) -> Gathering:
        """Return what these calls keep."""
        keys = [len(call.kv_indices) for call in calls]
        rows = max(call.rows.stop - call.rows.start for call in calls) if len(calls) > 1 else 0
        return cls(max(keys), sum(keys), rows)

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices, which are int32. The last layer's queries have about as many again."""
        return 2 * 4 * self.indices


def _call(segments: Sequence[Segment], device: torch.device) -> VarlenCall:
    queries = np.array([len(segment.queries) for segment in segments])
    keys = np.array([segment.keys for segment in segments])
    starts = np.array([(segment.context.start, segment.own.start) for segment in segments]).ravel()
    lengths = np.array([(len(segment.context), len(segment.own)) for segment in segments]).ravel()
    before = np.cumsum(lengths) - lengths
    indices = np.arange(keys.sum()) + np.repeat(starts - before, lengths)
    return VarlenCall(
        rows=slice(segments[0].queries.start, segments[-1].queries.stop),
        cu_seqlens_q=_int32(_cumulative(queries), device),
        cu_seqlens_k=_int32(_cumulative(keys), device),
        kv_indices=_int32(indices, device),
        max_seqlen_q=int(queries.max()),
        max_seqlen_k=int(keys.max()),
    )


def _cumulative(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths)))


def _int32(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(numbers.astype(np.int32)).to(device)
