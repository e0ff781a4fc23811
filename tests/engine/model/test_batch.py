"""The packed row: every token once, every tail at its own positions behind its prefix."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice, Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

CPU = torch.device("cpu")
ids = st.lists(st.integers(0, 99), min_size=1, max_size=6).map(tuple)
requests = st.lists(
    st.builds(
        lambda prefix, tails: TokenizedRequest(prefix, tuple(tails), tuple(range(len(tails))), (0,) * len(tails)),
        ids,
        st.lists(ids, min_size=1, max_size=5, unique=True),
    ),
    min_size=1,
    max_size=4,
)


@given(requests, st.integers(5, 60))
def test_every_tail_reads_back_as_its_whole_prompt(asked: list[TokenizedRequest], budget: int) -> None:
    """Following a segment's keys through the row gives prefix + tail, at positions 0, 1, 2, ..."""
    work = [Workload.of(request) for request in asked]
    read_back = set()
    for plan in plan_batches(work, budget):
        batch = build_batch(asked, plan)
        tails = [(part.request, tail) for part in plan.slices for tail in part.documents]
        assert len(batch.last_layout.segments) == len(batch.last_token_indices) == len(tails)
        for (request, tail), segment in zip(tails, batch.last_layout.segments, strict=True):
            rows = [*segment.context, *segment.own]
            assert tuple(batch.input_ids[rows].tolist()) == asked[request].prefix + asked[request].document_ids[tail]
            assert batch.positions[rows].tolist() == list(range(len(rows)))
            read_back.add((request, tail))
        assert batch.last_token_indices.tolist() == [segment.own[-1] for segment in batch.last_layout.segments]
        assert len(batch.input_ids) == plan.tokens
    assert len(read_back) == sum(len(request.document_ids) for request in asked)


@given(requests)
def test_the_queries_of_the_full_layout_cover_the_row_in_order(asked: list[TokenizedRequest]) -> None:
    work = [Workload.of(request) for request in asked]
    batch = build_batch(asked, plan_batches(work, 10_000)[0])
    covered = [row for segment in batch.layout.segments for row in segment.queries]
    assert covered == list(range(len(batch.input_ids)))


def test_a_small_pass_looks_as_drawn_in_the_docs() -> None:
    request = TokenizedRequest((1, 2), ((3,), (4, 5)), (0, 1), (0, 0))
    batch = build_batch([request], BatchPlan((RequestSlice(0, (0, 1), 5),)))
    assert batch.input_ids.tolist() == [1, 2, 3, 4, 5]
    assert batch.positions.tolist() == [0, 1, 2, 2, 3]
    assert batch.last_token_indices.tolist() == [2, 4]
