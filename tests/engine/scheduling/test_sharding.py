"""The division of a request: every tail once, nobody idle while another works, nothing split that is small."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.scheduling import sharding as dispatch
from qwen3_rerank_plugins.engine.scheduling.packing import Workload
from qwen3_rerank_plugins.engine.scheduling.sharding import SMALLEST_SHARD, Shard, may_split, shard_request

workloads = st.builds(Workload, st.integers(1, 900), st.lists(st.integers(1, 3000), min_size=1, max_size=40).map(tuple))
busy = st.lists(st.integers(0, 9000), min_size=1, max_size=6)


@settings(deadline=None)
@given(workloads, busy)
def test_every_tail_stands_exactly_once_in_parts_for_different_devices(work: Workload, outstanding: list[int]) -> None:
    parts = shard_request(work, outstanding)
    assert sorted(tail for part in parts for tail in part.documents) == list(range(len(work.document_lengths)))
    assert len({part.device for part in parts}) == len(parts)
    assert all(part.documents == tuple(sorted(part.documents)) for part in parts)
    assert all(
        part.tokens == work.prefix + sum(work.document_lengths[tail] for tail in part.documents) for part in parts
    )


@settings(deadline=None)
@given(workloads, busy)
def test_devices_with_parts_end_within_one_document_of_each_other(work: Workload, outstanding: list[int]) -> None:
    ends = [outstanding[part.device] + part.tokens for part in shard_request(work, outstanding)]
    assert max(ends) - min(ends) <= max(work.document_lengths)


@settings(deadline=None)
@given(workloads, busy)
def test_a_split_request_has_large_parts_and_costs_at_most_a_quarter_more(
    work: Workload, outstanding: list[int]
) -> None:
    parts = shard_request(work, outstanding)
    if len(parts) > 1:
        assert all(part.tokens - work.prefix >= max(SMALLEST_SHARD, 4 * work.prefix) for part in parts)
        assert sum(part.tokens for part in parts) <= 1.25 * (work.prefix + sum(work.document_lengths))


@settings(deadline=None)
@given(workloads, busy)
def test_no_device_with_less_to_do_is_passed_over(work: Workload, outstanding: list[int]) -> None:
    chosen = {part.device for part in shard_request(work, outstanding)}
    idle = [outstanding[device] for device in range(len(outstanding)) if device not in chosen]
    assert not idle or max(outstanding[device] for device in chosen) <= min(idle)


def test_a_small_request_goes_whole_to_whoever_has_least_to_do() -> None:
    (part,) = shard_request(Workload(90, (100,) * 10), [50, 7, 9])
    assert (part.device, part.documents, part.tokens) == (1, tuple(range(10)), 1090)


def test_a_large_request_uses_all_that_it_is_large_enough_for() -> None:
    assert len(shard_request(Workload(90, (SMALLEST_SHARD,) * 3), [0] * 4)) == 3
    assert len(shard_request(Workload(90, (100,) * 100), [0] * 4)) == 4
    assert len(shard_request(Workload(900, (100,) * 100), [0] * 4)) == 2, "a long query is not computed four times"


def test_whoever_is_busy_gets_less_or_nothing() -> None:
    work = Workload(100, (100,) * 60)
    parts = {part.device: part.tokens for part in shard_request(work, [0, 2000])}
    assert parts == {0: 4100, 1: 2100}
    assert [part.device for part in shard_request(work, [0, 9000])] == [0]


def test_devices_that_are_too_busy_are_seen_without_dividing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def counting(workload: Workload, longest_first: Sequence[int], outstanding: dict[int, int]) -> list[Shard]:
        tried.append(len(outstanding))
        return balance(workload, longest_first, outstanding)

    balance = dispatch._balance
    monkeypatch.setattr(dispatch, "_balance", counting)
    parts = shard_request(Workload(80, (400,) * 1000), [0, 0, *[10**9] * 62])
    assert [part.tokens for part in parts] == [80 + 500 * 400] * 2
    assert tried == [2]


@settings(deadline=None)
@given(workloads, busy)
def test_what_may_not_split_is_one_part(work: Workload, outstanding: list[int]) -> None:
    assert may_split(work) or len(shard_request(work, outstanding)) == 1
