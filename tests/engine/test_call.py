"""The time of a call is divided into waiting and computing, and its end is the same for all its requests."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.engine.call import Call, Meter
from qwen3_rerank_plugins.errors import RerankTimeoutError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_waiting_and_computing_add_up_to_the_time_since_the_call_began() -> None:
    clock = Clock()
    call = Call(clock=clock)
    clock.now += 3
    with call.computing():
        clock.now += 2
    clock.now += 1
    assert call.seconds() == (4.0, 2.0)


def test_passes_that_run_at_the_same_time_count_once_and_a_running_pass_counts_so_far() -> None:
    clock = Clock()
    call = Call(clock=clock)
    call.pass_begins()
    clock.now += 1
    call.pass_begins()
    clock.now += 1
    call.pass_ends()
    clock.now += 1
    assert call.seconds() == (0.0, 3.0)
    call.pass_ends()
    clock.now += 5
    assert call.seconds() == (5.0, 3.0)


def test_a_call_is_late_once_its_seconds_are_over_and_says_where_they_went() -> None:
    clock = Clock()
    call = Call(2.5, clock=clock)
    assert (call.seconds_left, call.late) == (2.5, False)
    clock.now += 1
    with call.computing():
        clock.now += 1
        call.check()
    clock.now += 1
    assert (call.seconds_left, call.late) == (0.0, True)
    with pytest.raises(RerankTimeoutError, match=r"timeout of 2.5 seconds: it waited for 2.00 .* 1.00 seconds") as late:
        call.check()
    assert (late.value.waiting_seconds, late.value.computing_seconds) == (2.0, 1.0)


def test_a_call_without_a_timeout_is_late_only_when_it_is_given_up() -> None:
    clock = Clock()
    call = Call(clock=clock)
    clock.now += 10**9
    assert (call.seconds_left, call.late) == (None, False)
    call.give_up()
    assert call.late


def test_a_meter_adds_up_the_passes_of_its_request() -> None:
    meter = Meter(Call())
    meter.count_pass(70)
    meter.count_pass(30)
    assert (meter.unique_tokens, meter.passes) == (100, 2)
