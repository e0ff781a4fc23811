"""The worker, with a pass of a few lines: merging, fairness, failures, memory, cancellation, closing."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import random
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, Remaining
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, PassError, ScoringError

LIMIT = 30.0


class Device:
    """A pass that scores a tail by the sum of its prompt's ids, remembers its plans, and can be held or broken."""

    def __init__(self, budget: int = 1000, memory: int = 10**9) -> None:
        self.budget, self.memory = budget, memory
        self.plans: list[BatchPlan] = []
        self.served: list[set[int]] = []  # the prefixes in each pass
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.break_on: Callable[[Sequence[TokenizedRequest], BatchPlan], Exception | None] = lambda *_: None

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        self.plans.append(plan)
        self.served.append({requests[part.request].prefix[0] for part in plan.slices})
        self.entered.release()
        assert self.open.wait(LIMIT)
        if plan.tokens > self.memory:
            raise DeviceMemoryError("the device is full")
        error = self.break_on([requests[part.request] for part in plan.slices], plan)
        if error:
            raise error
        return [
            float(sum(requests[part.request].prefix) + sum(requests[part.request].document_ids[tail]))
            for part in plan.slices
            for tail in part.documents
        ]


def request(prefix: int, *tails: int) -> TokenizedRequest:
    """Tails of the given lengths, all different."""
    ids = tuple((number + 1,) * length for number, length in enumerate(tails))
    return TokenizedRequest((prefix,) * 3, ids, tuple(range(len(ids))), (0,) * len(ids))


def expected(asked: TokenizedRequest) -> DocumentScores:
    return tuple(float(sum(asked.prefix) + sum(tail)) for tail in asked.document_ids)


def submit(worker: Scheduler, asked: TokenizedRequest) -> Future[DocumentScores]:
    return worker.submit(asked, lambda scores, _: scores)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def worker(device: Device) -> Scheduler:
    return Scheduler(lambda: LoadedEngine(device, device.budget))


def test_scores_come_back_in_the_order_of_the_tails(worker: Scheduler) -> None:
    asked = request(7, 5, 1, 9)
    assert submit(worker, asked).result(LIMIT) == expected(asked)


def test_a_request_over_the_budget_runs_in_several_passes(worker: Scheduler, device: Device) -> None:
    asked = request(1, *[90] * 25)
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    assert len(device.plans) == 3
    assert all(plan.tokens <= device.budget for plan in device.plans)


def test_requests_that_wait_share_a_pass(worker: Scheduler, device: Device) -> None:
    device.open.clear()
    first = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    waiting = [submit(worker, request(number, 5, 6)) for number in range(2, 10)]
    device.open.set()
    assert first.result(LIMIT)
    assert [future.result(LIMIT) for future in waiting] == [expected(request(number, 5, 6)) for number in range(2, 10)]
    assert [len(plan.slices) for plan in device.plans] == [1, 8]


def test_no_more_requests_share_a_pass_than_are_good_company(device: Device) -> None:
    worker = Scheduler(lambda: LoadedEngine(device, device.budget, max_merged_tokens=30))
    device.open.clear()
    futures = [submit(worker, request(1, 5))]
    assert device.entered.acquire(timeout=LIMIT)
    asked = [request(2, 10), request(3, 9), request(4, 2), request(5, 300, 40), request(6, 20), request(7, 1)]
    futures += [submit(worker, one) for one in asked]
    device.open.set()
    assert [future.result(LIMIT) for future in futures[1:]] == [expected(one) for one in asked]
    assert device.served == [{1}, {2, 3, 4}, {6, 7}, {5}, {5}]  # one request fills at most four times as much
    assert all(plan.tokens <= 30 for plan in device.plans if len(plan.slices) > 1)


def test_a_small_request_joins_the_next_pass_of_a_large_one(worker: Scheduler, device: Device) -> None:
    device.open.clear()
    large = submit(worker, request(1, *[980] * 20))
    assert device.entered.acquire(timeout=LIMIT)
    small = submit(worker, request(2, 5))
    device.open.set()
    assert small.result(LIMIT) == expected(request(2, 5))
    large.result(LIMIT)
    assert device.served[:3] == [{1}, {1, 2}, {1}]
    assert len(device.plans) == 20


def test_a_small_request_that_cannot_join_goes_before_the_rest_of_a_large_one(
    worker: Scheduler, device: Device
) -> None:
    device.open.clear()
    large = submit(worker, request(1, *[990] * 20))
    assert device.entered.acquire(timeout=LIMIT)
    small = submit(worker, request(2, 5))
    device.open.set()
    assert small.result(LIMIT) == expected(request(2, 5))
    large.result(LIMIT)
    assert device.served[:3] == [{1}, {2}, {1}]


def test_a_large_request_gets_its_passes_however_many_small_ones_keep_coming(worker: Scheduler, device: Device) -> None:
    newcomers = iter(range(2, 40))

    def one_more(*_: object) -> None:
        """Every pass leaves a newcomer in the queue that cannot share one with the large request."""
        number = next(newcomers, None)
        if number is not None:
            submit(worker, request(number, 900))

    device.break_on = one_more
    asked = request(1, *[990] * 5)
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    turns = [number for number, served in enumerate(device.served) if 1 in served]
    assert turns == [0, 2, 5, 9, 14]  # after everybody who came before its last turn, and nobody else


def test_a_failing_pass_reaches_its_callers_and_nobody_else(worker: Scheduler, device: Device) -> None:
    device.break_on = lambda requests, _: ValueError("broken") if any(r.prefix[0] == 2 for r in requests) else None
    device.open.clear()
    before = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    bad, good = submit(worker, request(2, 900)), submit(worker, request(3, 900))  # too large to share a pass
    device.open.set()
    assert before.result(LIMIT)
    with pytest.raises(PassError, match="ValueError: broken") as caught:
        bad.result(LIMIT)
    assert isinstance(caught.value.__cause__, ValueError)
    assert good.result(LIMIT) == expected(request(3, 900))
    assert submit(worker, request(4, 5)).result(LIMIT) == expected(request(4, 5))


def test_an_error_of_the_tree_arrives_as_it_is(worker: Scheduler, device: Device) -> None:
    device.break_on = lambda *_: ScoringError("as it is")
    with pytest.raises(ScoringError, match="^as it is$"):
        submit(worker, request(1, 5)).result(LIMIT)


def test_out_of_memory_halves_the_plan_and_loses_nothing() -> None:
    device = Device(budget=1000, memory=300)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    asked = request(1, *range(20, 60))
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    tried = len(device.plans)
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    assert max(plan.tokens for plan in device.plans[tried:]) <= 300, "the ceiling was forgotten"


def test_a_failed_pass_that_was_much_smaller_than_the_budget_is_halved_itself() -> None:
    device = Device(budget=16_000, memory=300)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    asked = request(1, *[40] * 10)  # 403 tokens: half of the budget would try the same again, and again
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    assert [plan.tokens for plan in device.plans] == [403, 163, 163, 83]


def test_memory_that_comes_back_is_used_again_and_both_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(budget=1000, memory=60)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget), "cuda:3")
    asked = request(1, *[10] * 400)
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    device.memory = 10**9
    for _ in range(12):
        assert submit(worker, asked).result(LIMIT) == expected(asked)
    assert max(plan.tokens for plan in device.plans[-4:]) == 993
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["lowered" in one for one in told] == [True, False]
    assert all("cuda:3" in one for one in told)


def test_where_memory_stays_short_not_every_call_runs_out_of_it(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(budget=1000, memory=300)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    asked = request(1, *[20] * 50)
    failed = []
    for _ in range(100):
        before = len(device.plans)
        assert submit(worker, asked).result(LIMIT) == expected(asked)
        failed.append(any(plan.tokens > 300 for plan in device.plans[before:]))
    assert failed[0]
    assert sum(failed) <= 8
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_pass_of_several_callers_that_runs_out_of_memory_loses_nobody_and_keeps_their_turns() -> None:
    device = Device(budget=1000, memory=120)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    device.open.clear()
    first = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    asked = [request(number, 30, 40, 50) for number in range(2, 7)]
    futures = [submit(worker, one) for one in asked]
    device.open.set()
    assert first.result(LIMIT)
    assert [future.result(LIMIT) for future in futures] == [expected(one) for one in asked]
    turns = [min(served) for served, plan in zip(device.served, device.plans, strict=True) if plan.tokens <= 120]
    assert turns[:2] == [1, 2], "whoever was first in line stays it"


def test_a_document_that_can_never_fit_fails_its_own_request_only() -> None:
    device = Device(budget=1000, memory=300)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    device.open.clear()
    before = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    huge, fine = submit(worker, request(2, 5, 400)), submit(worker, request(3, 50, 60))
    device.open.set()
    assert before.result(LIMIT)
    with pytest.raises(DeviceMemoryError):
        huge.result(LIMIT)
    assert fine.result(LIMIT) == expected(request(3, 50, 60))


def test_a_failed_load_reaches_whoever_waits_and_the_next_request_tries_again(device: Device) -> None:
    attempts = iter([OSError("no disk"), None])

    def load() -> LoadedEngine:
        error = next(attempts)
        if error:
            raise error
        return LoadedEngine(device, device.budget)

    worker = Scheduler(load)
    with pytest.raises(PassError, match="no disk"):
        submit(worker, request(1, 5)).result(LIMIT)
    assert submit(worker, request(1, 5)).result(LIMIT) == expected(request(1, 5))


def test_whoever_comes_during_a_load_that_fails_is_answered_once_and_starts_no_other_load(
    caplog: pytest.LogCaptureFixture,
) -> None:
    going, asked, loads = threading.Event(), threading.Event(), list[None]()

    def load() -> LoadedEngine:
        loads.append(None)
        going.set()
        assert asked.wait(LIMIT)
        raise ScoringError("as it is")

    worker = Scheduler(load)
    futures = [submit(worker, request(1, 5))]
    assert going.wait(LIMIT)
    futures += [submit(worker, request(1, 5)) for _ in range(2)]
    asked.set()
    assert [str(future.exception(LIMIT)) for future in futures] == ["as it is"] * 3
    worker.close()
    assert len(loads) == 1
    assert caplog.records == [], "a future that is answered twice is reported by the standard library"


@pytest.mark.parametrize("failure", [OSError("no disk"), ScoringError("as it is")], ids=["foreign", "of the tree"])
@pytest.mark.parametrize("where", ["the load", "a pass"])
def test_everybody_who_waits_for_what_fails_gets_an_error_of_their_own(
    device: Device, failure: Exception, where: str
) -> None:
    going, asked = threading.Event(), threading.Event()

    def load() -> LoadedEngine:
        going.set()
        assert asked.wait(LIMIT)
        if where == "the load":
            raise failure
        return LoadedEngine(device, device.budget)

    device.break_on = lambda *_: failure
    failure.add_note("on the way")
    worker = Scheduler(load)
    futures = [submit(worker, request(1, 5))]
    assert going.wait(LIMIT)
    futures += [submit(worker, request(1, 5)) for _ in range(2)]
    asked.set()
    errors = [future.exception(LIMIT) for future in futures]
    assert len({str(error) for error in errors}) == len({type(error) for error in errors}) == 1
    assert len(set(map(id, errors))) == 3
    causes = [error.__cause__ for error in errors if error is not None and error.__cause__ is not None]
    assert len(set(map(id, causes))) == (3 if isinstance(failure, OSError) else 0)
    first, second = (error for error in errors[:2] if error is not None)
    first.add_note("mine")
    assert "mine" not in second.__notes__
    with pytest.raises(type(first)):
        raise first
    assert second.__traceback__ is None


def test_a_cancelled_request_is_dropped_before_its_next_pass(worker: Scheduler, device: Device) -> None:
    device.open.clear()
    running = submit(worker, request(1, *[990] * 20))
    assert device.entered.acquire(timeout=LIMIT)
    queued = submit(worker, request(2, 5))
    assert queued.cancel()
    assert running.cancel()
    device.open.set()
    after = request(3, 5)
    assert submit(worker, after).result(LIMIT) == expected(after)
    assert len(device.plans) == 2
    with pytest.raises(CancelledError):
        queued.result(LIMIT)


def test_closing_serves_whoever_waits_and_refuses_whoever_comes_later(worker: Scheduler, device: Device) -> None:
    device.open.clear()
    first = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    waiting = submit(worker, request(2, 5))
    closing = threading.Thread(target=worker.close)
    closing.start()
    device.open.set()
    closing.join(LIMIT)
    assert not closing.is_alive()
    assert (first.result(0), waiting.result(0)) == (expected(request(1, 5)), expected(request(2, 5)))
    with pytest.raises(ClosedError, match="Make a new one"):
        submit(worker, request(3, 5))
    worker.close()


def test_a_worker_that_never_worked_closes_without_loading_and_stays_closed() -> None:
    loads: list[None] = []
    worker = Scheduler(lambda: loads.append(None))  # type: ignore[arg-type, return-value]
    worker.close()
    with pytest.raises(ClosedError, match="Make a new one"):
        submit(worker, request(1, 5))
    assert loads == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_pass_that_gives_too_few_or_too_many_scores_leaves_nobody_waiting(
    worker: Scheduler, device: Device, count: int
) -> None:
    device.open.clear()
    submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    worker.engine = LoadedEngine(lambda *_: [1.0] * count, device.budget)
    bad = submit(worker, request(2, 5, 6))
    device.open.set()
    with pytest.raises(PassError, match=f"{count} scores for 2 documents"):
        bad.result(LIMIT)
    worker.engine = LoadedEngine(device, device.budget)
    assert submit(worker, request(3, 5)).result(LIMIT) == expected(request(3, 5))


def test_not_even_a_failing_plan_leaves_anybody_waiting(worker: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise MemoryError("no memory to plan in")

    with monkeypatch.context() as patched:
        patched.setattr("qwen3_rerank_plugins.engine.scheduling.planned_batch.plan_batch", failing)
        with pytest.raises(PassError, match="no memory to plan in"):
            submit(worker, request(1, 5)).result(LIMIT)
    assert submit(worker, request(2, 5)).result(LIMIT) == expected(request(2, 5))


def test_a_finish_that_raises_fails_its_own_request_only(worker: Scheduler, device: Device) -> None:
    def broken(_: DocumentScores, __: Collection[int]) -> None:
        raise RuntimeError("cannot finish")

    device.open.clear()
    first = submit(worker, request(1, 5))
    assert device.entered.acquire(timeout=LIMIT)
    bad, good = worker.submit(request(2, 5), broken), submit(worker, request(3, 5))
    device.open.set()
    assert first.result(LIMIT)
    with pytest.raises(PassError, match="cannot finish"):
        bad.result(LIMIT)
    assert good.result(LIMIT) == expected(request(3, 5))


def test_thirty_two_threads_get_what_they_asked_for(worker: Scheduler) -> None:
    dice = random.Random(0)
    asked = [request(dice.randrange(1, 99), *(dice.randrange(1, 300) for _ in range(8))) for _ in range(320)]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda one: submit(worker, one).result(LIMIT), asked))
    assert found == [expected(one) for one in asked]
    worker.close()


class Overflowing(Device):
    """Scores of tails of 7 tokens overflow."""

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        lengths = [len(requests[part.request].document_ids[tail]) for part in plan.slices for tail in part.documents]
        return [
            math.nan if length == 7 else log_odds
            for length, log_odds in zip(lengths, super().__call__(requests, plan), strict=True)
        ]


def test_what_planning_costs_does_not_depend_on_how_many_passes_are_still_to_come(
    worker: Scheduler, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large request is looked through once, as it is submitted; the worker looks at what it runs."""
    looked_at = 0

    def counting(left: Remaining, tails: Sequence[int]) -> None:
        nonlocal looked_at
        looked_at += len(tails)
        keep(left, tails)

    keep = Remaining._keep
    monkeypatch.setattr(Remaining, "_keep", counting)
    device.open.clear()
    large = submit(worker, request(1, *[90] * 5000))
    assert device.entered.acquire(timeout=LIMIT)
    small = submit(worker, request(2, 5))
    device.open.set()
    assert small.result(LIMIT) == expected(request(2, 5))
    assert large.result(LIMIT)
    assert len(device.plans) == 456
    assert looked_at == 5000 + 1


def test_ten_thousand_who_wait_are_served_in_the_order_in_which_they_came(worker: Scheduler, device: Device) -> None:
    device.open.clear()
    futures = [submit(worker, request(number, 40)) for number in range(10_000)]
    device.open.set()
    assert [future.result(LIMIT)[0] for future in futures] == [3.0 * number + 40 for number in range(10_000)]
    order = [number for served in device.served for number in sorted(served)]
    assert order == list(range(10_000))


def float32_fallback(worker: Scheduler, asked: TokenizedRequest) -> Future[tuple[DocumentScores, Collection[int]]]:
    return worker.submit(asked, lambda scores, rescored: (scores, tuple(rescored)), float32_fallback=True)


def test_scores_that_overflow_are_computed_again_one_by_one_where_that_is_asked_for() -> None:
    narrow, wide = Overflowing(), Device()
    worker = Scheduler(lambda: LoadedEngine(narrow, 1000, float32_fallback=wide))
    asked = request(1, 5, 7, 6, 7)
    assert float32_fallback(worker, asked).result(LIMIT) == (expected(asked), (1, 3))
    assert [plan.document_count for plan in wide.plans] == [1, 1]
    assert [plan.tokens for plan in wide.plans] == [10, 10]
    assert len(narrow.plans) == 1
    assert [math.isnan(log_odds) for log_odds in submit(worker, asked).result(LIMIT)] == [False, True, False, True]
    assert len(wide.plans) == 2, "who did not ask for it does not wait for it"


def test_others_are_served_between_the_scores_that_are_computed_again() -> None:
    narrow, wide = Overflowing(), Device()
    worker = Scheduler(lambda: LoadedEngine(narrow, 1000, float32_fallback=wide))
    wide.open.clear()
    large = float32_fallback(worker, request(1, *[7] * 50))
    assert wide.entered.acquire(timeout=LIMIT)
    small = submit(worker, request(2, 5))
    small_was_done: list[bool] = []
    wide.break_on = lambda *_: small_was_done.append(small.done())
    wide.open.set()
    assert large.result(LIMIT) == (expected(request(1, *[7] * 50)), tuple(range(50)))
    assert small.result(LIMIT) == expected(request(2, 5))
    assert small_was_done == [False, *[True] * 49]


def test_a_call_that_is_cancelled_gets_no_further_score_computed_again() -> None:
    narrow, wide = Overflowing(), Device()
    worker = Scheduler(lambda: LoadedEngine(narrow, 1000, float32_fallback=wide))
    wide.open.clear()
    large = float32_fallback(worker, request(1, *[7] * 50))
    assert wide.entered.acquire(timeout=LIMIT)
    assert large.cancel()
    wide.open.set()
    assert submit(worker, request(2, 5)).result(LIMIT)
    assert len(wide.plans) == 1


def test_nothing_is_computed_again_that_was_finite() -> None:
    wide = Device()
    worker = Scheduler(lambda: LoadedEngine(Device(), 1000, float32_fallback=wide))
    assert float32_fallback(worker, request(1, 5, 7)).result(LIMIT) == (expected(request(1, 5, 7)), ())
    assert wide.plans == []


def test_without_anything_wider_a_score_stays_broken() -> None:
    scores, rescored = float32_fallback(Scheduler(lambda: LoadedEngine(Overflowing(), 1000)), request(1, 7)).result(
        LIMIT
    )
    assert math.isnan(scores[0])
    assert rescored == ()


def test_a_rescue_that_finds_no_memory_fails_its_own_request_only_and_lowers_no_ceiling() -> None:
    narrow = Overflowing()
    worker = Scheduler(lambda: LoadedEngine(narrow, 1000, float32_fallback=Device(memory=5)))
    with pytest.raises(DeviceMemoryError):
        float32_fallback(worker, request(1, 5, 7)).result(LIMIT)
    asked = request(2, *[80] * 12)
    assert submit(worker, asked).result(LIMIT) == expected(asked)
    assert narrow.plans[-1].document_count == 12


class Tensors:
    """Something large that a pass works on."""


@pytest.mark.parametrize("foreign", [True, False])
def test_a_failed_pass_keeps_nothing_alive_through_its_error(worker: Scheduler, device: Device, foreign: bool) -> None:
    seen: list[weakref.ref[object]] = []

    def fall_over(*_: object) -> Exception:
        large = Tensors()
        seen.append(weakref.ref(large))
        if foreign:
            raise ValueError("broken")
        raise ScoringError("broken")

    def finish(_: DocumentScores, __: Collection[int]) -> None:
        raise AssertionError("nothing was scored")

    device.break_on = fall_over
    gc.collect()
    gc.disable()
    try:
        error = worker.submit(request(1, 5), finish).exception(LIMIT)
        assert isinstance(error, ScoringError)
        assert not foreign or "in fall_over" in error.__notes__[0], "where it broke is told in words"
        assert seen[0]() is None, "whoever keeps the error keeps the pass's tensors"
        finished = weakref.ref(finish)
        submit(worker, request(2, 5)).exception(LIMIT)  # the worker has gone on
        del error, finish
        assert finished() is None, "a circle of error, frame, job and future"
    finally:
        gc.enable()


class Pipeline:
    """A device that computes by itself between `start` and the end of the wait, and says what happened when."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.events: list[str] = []
        self.while_it_runs: Callable[[], object] = lambda: None

    def prepare(
        self, requests: Sequence[TokenizedRequest], plan: BatchPlan
    ) -> tuple[list[TokenizedRequest], BatchPlan]:
        self.events.append("prepare")
        return list(requests), plan

    def start(self, prepared: tuple[list[TokenizedRequest], BatchPlan]) -> Callable[[], list[float]]:
        self.events.append("start")
        found = self.device(*prepared)

        def wait() -> list[float]:
            self.while_it_runs()
            self.events.append("wait")
            return found

        return wait


@pytest.fixture
def pipeline(device: Device) -> Pipeline:
    return Pipeline(device)


@pytest.fixture
def pipelined(device: Device, pipeline: Pipeline) -> Scheduler:
    return Scheduler(lambda: LoadedEngine(device, device.budget, pipeline=pipeline))


def test_the_next_pass_is_prepared_while_the_device_works_on_the_present_one(
    pipelined: Scheduler, device: Device, pipeline: Pipeline
) -> None:
    asked = request(1, *[90] * 35)
    assert submit(pipelined, asked).result(LIMIT) == expected(asked)
    assert len(device.plans) == 4
    assert pipeline.events == ["prepare", *["start", "prepare", "wait"] * 3, "start", "wait"]


def test_whoever_arrives_during_a_pass_is_in_the_next_one_although_that_was_prepared(
    pipelined: Scheduler, device: Device, pipeline: Pipeline
) -> None:
    small: list[Future[DocumentScores]] = []

    def arrive() -> None:
        if not small:
            small.append(submit(pipelined, request(2, 5)))

    pipeline.while_it_runs = arrive
    asked = request(1, *[90] * 35)
    assert submit(pipelined, asked).result(LIMIT) == expected(asked)
    assert small[0].result(LIMIT) == expected(request(2, 5))
    assert [number for number, served in enumerate(device.served) if 2 in served] == [1]
    assert sum(plan.document_count for plan in device.plans) == 36


@pytest.mark.parametrize("seed", range(6))
def test_a_pipeline_loses_and_doubles_nothing_whatever_happens_meanwhile(seed: int) -> None:
    """Arrivals, cancellations, broken passes and short memory, drawn by lot, while a next pass is prepared."""
    dice = random.Random(seed)
    device = Device(budget=300, memory=280)
    pipeline = Pipeline(device)
    worker = Scheduler(lambda: LoadedEngine(device, device.budget, pipeline=pipeline))
    futures: list[tuple[Future[DocumentScores], TokenizedRequest]] = []

    def enter() -> None:
        asked = request(len(futures) + 1, *(dice.randint(1, 90) for _ in range(dice.randint(0, 12))))
        futures.append((submit(worker, asked), asked))

    def meanwhile() -> None:
        if len(futures) < 60:
            for _ in range(dice.randint(0, 3)):
                enter()
        if dice.random() < 0.2:
            dice.choice(futures)[0].cancel()

    pipeline.while_it_runs = meanwhile
    device.break_on = lambda *_: RuntimeError("a kernel failed") if dice.random() < 0.05 else None
    for _ in range(5):
        enter()
    for number in range(200):
        if number < len(futures):
            future, asked = futures[number]
            with contextlib.suppress(CancelledError, PassError):
                assert future.result(LIMIT) == expected(asked)
    worker.close()
    assert all(future.done() for future, _ in futures)
    assert len(futures) > 20


def test_a_batch_that_cannot_be_prepared_fails_only_when_it_is_its_turn(
    pipelined: Scheduler, pipeline: Pipeline
) -> None:
    prepare = pipeline.prepare

    def broken(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> tuple[list[TokenizedRequest], BatchPlan]:
        if any(requests[part.request].prefix[0] == 2 for part in plan.slices):
            raise RuntimeError("this request cannot be packed")
        return prepare(requests, plan)

    pipeline.prepare = broken  # type: ignore[method-assign]
    pipeline.device.open.clear()
    first = submit(pipelined, request(1, *[90] * 11))
    assert pipeline.device.entered.acquire(timeout=LIMIT)
    second = submit(pipelined, request(2, *[90] * 10))
    pipeline.device.open.set()
    assert first.result(LIMIT) == expected(request(1, *[90] * 11))
    with pytest.raises(PassError, match="this request cannot be packed"):
        second.result(LIMIT)
