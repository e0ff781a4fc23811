"""The stopwatch: turns, ratios, peaks."""

from __future__ import annotations

import gc
import sys

import pytest
import torch

from qwen3_rerank_plugins.bench.stopwatch import Measured, Spread, measure, ratios, take_turns
from qwen3_rerank_plugins.engine.memory import trim_malloc

CPU = torch.device("cpu")


def test_calls_take_turns_and_every_other_round_goes_backwards() -> None:
    order: list[str] = []
    announced: list[tuple[str, int]] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    measured = take_turns(calls, 3, CPU, lambda name, turn: announced.append((name, turn)))
    assert "".join(order) == "abccbaabc"
    assert announced[:4] == [("a", 0), ("b", 0), ("c", 0), ("c", 1)]
    assert {name: len(runs) for name, runs in measured.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_formed_inside_a_turn() -> None:
    ours = [Measured(1.0, None, None), Measured(10.0, None, None)]
    theirs = [Measured(2.0, None, None), Measured(40.0, None, None)]
    assert ratios(ours, theirs) == Spread(3.0, 2.0, 4.0)


def test_a_call_is_timed_and_its_answer_kept() -> None:
    measured = measure(lambda: sum(range(200_000)), CPU)
    assert measured.answer == sum(range(200_000))
    assert measured.seconds > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its own peak")
def test_the_peak_of_a_call_is_seen_even_where_it_is_gone_at_the_end() -> None:
    def take_and_drop() -> None:
        torch.ones(16 * 2**20, dtype=torch.float32).sum()

    gc.collect()
    trim_malloc()  # memory of earlier tests that is returned during the call would hide a part of the growth
    growth = measure(take_and_drop, CPU).peak_growth
    assert growth is not None
    assert 60 * 2**20 < growth < 120 * 2**20
    after = measure(lambda: None, CPU).peak_growth
    assert after is not None
    assert after < 20 * 2**20, "an old peak must not count again"
