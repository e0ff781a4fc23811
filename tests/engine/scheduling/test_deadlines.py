"""Late requests cost no pass, wherever they are, and break off nothing for others."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from qwen3_rerank_plugins.engine.call import Call, Meter
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import RerankTimeoutError
from tests.engine.scheduling.test_replicas import LARGE, Pair
from tests.engine.scheduling.test_scheduler import LIMIT, Device, Overflowing, Pipeline, expected, request
from tests.engine.test_call import Clock


class Caller:
    """Submits requests of one call, whose time is over when the test says so."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.meter = Meter(Call(5.0, clock=self.clock))

    def submit(self, worker: Scheduler, asked: TokenizedRequest, **options: bool) -> Future[DocumentScores]:
        return worker.submit(asked, lambda scores, _: scores, meter=self.meter, **options)

    def runs_late(self) -> None:
        self.clock.now += 6.0


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def worker(device: Device) -> Scheduler:
    return Scheduler(lambda: LoadedEngine(device, device.budget))


def hold(worker: Scheduler, device: Device) -> Future[DocumentScores]:
    """Let a pass of somebody else run until `device.open` is set."""
    device.open.clear()
    first = worker.submit(request(1, 5), lambda scores, _: scores)
    assert device.entered.acquire(timeout=LIMIT)
    return first


def test_a_request_that_is_late_is_dropped_before_it_costs_a_pass(worker: Scheduler, device: Device) -> None:
    first, caller = hold(worker, device), Caller()
    late, other = caller.submit(worker, request(2, 5)), Caller().submit(worker, request(3, 5))
    caller.runs_late()
    device.open.set()
    with pytest.raises(RerankTimeoutError) as raised:
        late.result(LIMIT)
    assert (raised.value.waiting_seconds, raised.value.computing_seconds) == (6.0, 0.0)
    assert (first.result(LIMIT), other.result(LIMIT)) == (expected(request(1, 5)), expected(request(3, 5)))
    assert device.served == [{1}, {3}]
    assert len(worker.queue) == 0


def test_a_large_request_that_runs_late_makes_no_further_pass(worker: Scheduler, device: Device) -> None:
    caller = Caller()
    device.open.clear()
    late = caller.submit(worker, request(1, *[90] * 50))
    assert device.entered.acquire(timeout=LIMIT)
    caller.runs_late()
    device.open.set()
    with pytest.raises(RerankTimeoutError) as raised:
        late.result(LIMIT)
    assert (raised.value.waiting_seconds, raised.value.computing_seconds) == (0.0, 6.0)
    assert len(device.plans) == 1
    assert caller.meter.passes == 1


def test_a_pass_under_way_is_not_broken_off_for_the_others_in_it(worker: Scheduler, device: Device) -> None:
    first, caller = hold(worker, device), Caller()
    late, other = caller.submit(worker, request(2, 5)), Caller().submit(worker, request(3, 5))
    device.break_on = lambda requests, _: caller.runs_late() if len(requests) == 2 else None
    device.open.set()
    assert other.result(LIMIT) == expected(request(3, 5))
    assert late.result(LIMIT) == expected(request(2, 5)), "the scores are there, so nothing is thrown away"
    assert first.result(LIMIT)


def test_a_prepared_batch_is_planned_again_without_a_request_that_is_late(device: Device) -> None:
    pipeline, caller = Pipeline(device), Caller()
    worker = Scheduler(lambda: LoadedEngine(device, device.budget, pipeline=pipeline))
    device.open.clear()
    first = worker.submit(request(1, *[90] * 11), lambda scores, _: scores)
    assert device.entered.acquire(timeout=LIMIT)
    late, other = caller.submit(worker, request(2, 5)), Caller().submit(worker, request(3, 5))
    pipeline.while_it_runs = caller.runs_late  # after the next batch was prepared, with both
    device.open.set()
    with pytest.raises(RerankTimeoutError):
        late.result(LIMIT)
    assert other.result(LIMIT) == expected(request(3, 5))
    assert first.result(LIMIT) == expected(request(1, *[90] * 11))
    assert pipeline.events.count("prepare") > len(device.plans), "a prepared batch was dropped"
    assert all(2 not in served for served in device.served)


def test_a_load_goes_on_for_later_callers_when_the_first_one_is_late(device: Device) -> None:
    loading, loaded, loads = threading.Event(), threading.Event(), 0

    def load() -> LoadedEngine:
        nonlocal loads
        loads += 1
        loading.set()
        assert loaded.wait(LIMIT)
        return LoadedEngine(device, device.budget)

    worker, caller = Scheduler(load), Caller()
    late = caller.submit(worker, request(1, 5))
    assert loading.wait(LIMIT)
    caller.runs_late()
    later = Caller().submit(worker, request(2, 5))
    loaded.set()
    with pytest.raises(RerankTimeoutError) as raised:
        late.result(LIMIT)
    assert raised.value.waiting_seconds == 6.0, "loading is waiting"
    assert later.result(LIMIT) == expected(request(2, 5))
    assert (loads, device.served) == (1, [{2}])


def test_documents_that_are_scored_again_in_float32_have_the_same_deadline() -> None:
    device, caller = Overflowing(), Caller()
    again: list[int] = []

    def float32(requests: list[TokenizedRequest], plan: object) -> list[float]:
        again.append(len(requests))
        caller.runs_late()
        return [1.0]

    worker = Scheduler(lambda: LoadedEngine(device, device.budget, float32_fallback=float32))  # type: ignore[arg-type]
    with pytest.raises(RerankTimeoutError):
        caller.submit(worker, request(1, 7, 7, 7), float32_fallback=True).result(LIMIT)
    assert again == [1]


def test_every_shard_of_a_late_request_is_dropped_and_no_device_counts_as_failed() -> None:
    pair, caller = Pair().warm(), Caller()
    for device in pair.devices:
        device.open.clear()
    late = pair.replicas.submit(request(7, *LARGE), lambda scores, _: scores, meter=caller.meter)
    for device in pair.devices:
        assert device.entered.acquire(timeout=LIMIT)
    caller.runs_late()
    for device in pair.devices:
        device.open.set()
    with pytest.raises(RerankTimeoutError):
        late.result(LIMIT)
    assert [replica.cooldown_until < pair.now for replica in pair.replicas._replicas] == [True, True]
    asked = request(8, *LARGE)
    assert pair.submit(asked).result(LIMIT) == expected(asked)
    assert caller.meter.passes == 2, "the two that ran already"
