"""Who attends to whom: parts, padded_groups and index tensors, in plain rows."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, PaddedGroup, Segment

CPU = torch.device("cpu")


def layout_of(requests: list[tuple[int, list[int]]], *, last_only: bool = False) -> AttentionLayout:
    """The layout of prefixes and tails with these lengths, as `build_batch` lays them out."""
    segments: list[Segment] = []
    row = 0
    queries = 0
    for prefix_length, tails in requests:
        prefix = range(row, row + prefix_length)
        row += prefix_length
        if not last_only:
            segments.append(Segment(prefix, range(0), prefix))
        for length in tails:
            own = range(row, row + length)
            row += length
            segments.append(Segment(range(queries, queries + 1) if last_only else own, prefix, own))
            queries += 1
    return AttentionLayout(tuple(segments), CPU)


layouts = st.lists(
    st.tuples(st.integers(1, 6), st.lists(st.integers(1, 7), min_size=1, max_size=4)), min_size=1, max_size=3
)


@given(layouts, st.booleans())
def test_bundles_are_all_segments_in_order_and_their_rows_follow_each_other(
    requests: list[tuple[int, list[int]]], last_only: bool
) -> None:
    layout = layout_of(requests, last_only=last_only)
    assert [segment for bundle in layout.padded_groups for segment in bundle.segments] == list(layout.segments)
    assert [row for bundle in layout.padded_groups for row in range(bundle.rows.start, bundle.rows.stop)] == list(
        range(layout.query_rows)
    )


def test_a_bundle_pads_shorter_documents_with_their_own_last_row_and_knows_where_each_row_stands() -> None:
    prefix = range(2)
    segments = tuple(Segment(own, prefix, own) for own in (range(2, 5), range(5, 7)))
    bundle = PaddedGroup(segments, CPU)
    assert bundle.kv_indices.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6, 6]
    assert bundle.query_rows.tolist() == [0, 1, 2, 3, 4, 4]
    assert [index.tolist() for index in bundle.segment_and_offset] == [[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]]
    assert (bundle.queries, bundle.before, bundle.rows) == (3, 2, slice(2, 7))


def test_short_documents_go_together_in_every_part_and_long_ones_alone() -> None:
    lengths = sorted((70 + 37 * number % 80 for number in range(100)), reverse=True)
    parts = layout_of([(82, [2000, 300, *lengths])]).parts(1024)
    padded_groups = [bundle for part in parts for bundle in part.layout.padded_groups]
    assert [len(segment.own) for bundle in padded_groups for segment in bundle.segments] == [82, 2000, 300, *lengths]
    assert [len(bundle.segments) for bundle in padded_groups[:3]] == [1, 1, 1], "the prefix, and what is long"
    assert len(padded_groups) < 40
    for bundle in padded_groups[3:]:
        longest = max(len(segment.own) for segment in bundle.segments)
        needed = sum(len(segment.own) * segment.keys for segment in bundle.segments)
        assert len(bundle.segments) * longest * (82 + longest) <= 1.06 * needed


def test_documents_behind_different_prefixes_do_not_go_together() -> None:
    layout = layout_of([(5, [3, 3]), (5, [3, 3])])
    assert [len(bundle.segments) for bundle in layout.padded_groups] == [1, 2, 1, 2]


def test_last_tokens_which_see_different_numbers_of_keys_go_alone() -> None:
    layout = layout_of([(5, [3, 3])], last_only=True)
    assert [len(bundle.segments) for bundle in layout.padded_groups] == [1, 1]


def test_parts_are_of_about_the_asked_size_and_a_long_document_is_not_cut() -> None:
    short = layout_of([(90, [110] * 100)]).parts(1000)
    assert len(short) == 11
    assert all(900 <= part.rows.stop - part.rows.start <= 1120 for part in short)
    long = layout_of([(90, [5000, 100, 4000])]).parts(1000)
    assert [part.rows.stop - part.rows.start for part in long] == [90, 5000, 100, 4000]


def test_what_a_kernel_derives_is_computed_once_and_can_be_stored() -> None:
    layout, computed = layout_of([(2, [1])]), []

    def rows(one: AttentionLayout) -> int:
        computed.append(one)
        return one.query_rows

    assert layout.stored(rows) is None
    assert [layout.derive(rows), layout.derive(rows), layout.stored(rows)] == [3, 3, 3]
    assert len(computed) == 1
    layout.store(rows, 7)
    assert layout.derive(rows) == 7
