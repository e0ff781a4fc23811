"""The arguments of flash attention: every segment once, with its own keys, in calls of a limited size."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.model import varlen
from qwen3_rerank_plugins.engine.model.varlen import Gathering, varlen_calls
from tests.engine.model.test_layout import layout_of, layouts


def test_index_tensors_repeat_the_prefix_for_every_document() -> None:
    (call,) = varlen_calls(layout_of([(2, [1, 2])]))
    assert call.kv_indices.tolist() == [0, 1, 0, 1, 2, 0, 1, 3, 4]
    assert call.cu_seqlens_q.tolist() == [0, 2, 3, 5]
    assert call.cu_seqlens_k.tolist() == [0, 2, 5, 9]
    assert (call.max_seqlen_q, call.max_seqlen_k, call.rows) == (2, 4, slice(0, 5))
    assert {tensor.dtype for tensor in call.tensors} == {torch.int32}


@given(layouts, st.booleans())
def test_the_calls_hold_every_segment_in_order_with_its_own_keys(
    requests: list[tuple[int, list[int]]], last_only: bool
) -> None:
    layout = layout_of(requests, last_only=last_only)
    calls = varlen_calls(layout)
    found = [
        (call.rows.start + first, call.rows.start + stop, call.kv_indices[start:end].tolist())
        for call in calls
        for first, stop, start, end in zip(
            call.cu_seqlens_q[:-1].tolist(),
            call.cu_seqlens_q[1:].tolist(),
            call.cu_seqlens_k[:-1].tolist(),
            call.cu_seqlens_k[1:].tolist(),
            strict=True,
        )
    ]
    assert found == [
        (segment.queries.start, segment.queries.stop, [*segment.context, *segment.own]) for segment in layout.segments
    ]
    for call in calls:
        assert call.max_seqlen_q == int(call.cu_seqlens_q.diff().max())
        assert call.max_seqlen_k == int(call.cu_seqlens_k.diff().max())


@given(layouts)
def test_a_call_gathers_few_keys_for_each_token_and_no_neighbors_could_share_one(
    requests: list[tuple[int, list[int]]],
) -> None:
    layout = layout_of(requests)
    calls = varlen_calls(layout)
    most = varlen.KEYS_PER_TOKEN * layout.key_rows
    sizes = [len(call.kv_indices) for call in calls]
    assert all(size <= most for size in sizes)  # a single segment has at most the keys of all tokens
    for size, call in zip(sizes, calls[1:], strict=False):
        assert size + int(call.cu_seqlens_k[1]) > most
    gathering = Gathering.of(calls)
    assert (gathering.keys, gathering.indices) == (max(sizes), sum(sizes))
    assert gathering.rows == (0 if len(calls) == 1 else max(call.rows.stop - call.rows.start for call in calls))
