"""Several workers behind one door: who gets what, what comes back, and what becomes of whom when one fails."""

from __future__ import annotations

import gc
import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, Workload
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores
from qwen3_rerank_plugins.engine.scheduling.replicas import COOLDOWN, Replicas
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.scheduling.sharding import Shard, shard_request
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, PassError, SettingsError
from tests.engine.scheduling.test_scheduler import LIMIT, Device, Overflowing, expected, request

QUERY = "What is the capital of China?"
LONG = [f"Long words about city number {number}. " * (10 + 3 * (number % 9)) for number in range(24)]


class Pair:
    """Two devices behind replicas, with a clock that is turned by hand."""

    def __init__(self, *devices: Device) -> None:
        self.devices = devices or (Device(), Device())
        self.now = 0.0
        self.broken_loads: set[int] = set()
        workers = [Scheduler(self._loader(number), f"cuda:{number}") for number in range(len(self.devices))]
        self.replicas = Replicas(workers, lambda: self.now)

    def _loader(self, number: int) -> Callable[[], LoadedEngine]:
        def load() -> LoadedEngine:
            if number in self.broken_loads:
                raise OSError("no such device")
            device = self.devices[number]
            return LoadedEngine(
                device, device.budget, float32_fallback=device if isinstance(device, Overflowing) else None
            )

        return load

    def submit(self, asked: TokenizedRequest) -> Future[DocumentScores]:
        return self.replicas.submit(asked, lambda scores, _: scores)

    def warm(self) -> Pair:
        """Both loaded, nothing run."""
        self.submit(request(1, 5)).result(LIMIT)
        for replica in self.replicas._replicas:
            replica.scheduler.load().result(LIMIT)
        for device in self.devices:
            device.plans.clear()
            while device.entered.acquire(blocking=False):  # or a test would take the warm-up's pass for its own
                pass
        return self

    @property
    def passes(self) -> list[int]:
        return [len(device.plans) for device in self.devices]

    def break_on(self, number: int, *ids: int) -> None:
        """Passes of one device with prefixes of these ids, or of any."""

        def fail(requests: Sequence[TokenizedRequest], _: BatchPlan) -> Exception | None:
            concerned = not ids or any(one.prefix[0] in ids for one in requests)
            return RuntimeError("an illegal memory access") if concerned else None

        self.devices[number].break_on = fail


@pytest.fixture
def pair() -> Pair:
    return Pair().warm()


LARGE = (200,) * 30


def test_a_large_request_runs_on_both_and_comes_back_in_order(pair: Pair) -> None:
    asked = request(7, *LARGE, 5, 1, 999)
    assert pair.submit(asked).result(LIMIT) == expected(asked)
    assert all(pair.passes)
    tails = [sum(plan.document_count for plan in device.plans) for device in pair.devices]
    assert sum(tails) == 33


def test_a_small_request_is_one_pass_of_one_device(pair: Pair) -> None:
    asked = request(7, *[50] * 18)
    assert pair.submit(asked).result(LIMIT) == expected(asked)
    assert sorted(pair.passes) == [0, 1]


def test_small_requests_go_where_the_fewest_tokens_wait(pair: Pair) -> None:
    for device in pair.devices:
        device.open.clear()
    futures = [pair.submit(request(1, 300)), pair.submit(request(2, 100)), pair.submit(request(3, 100))]
    futures += [pair.submit(request(4, 150)), pair.submit(request(5, 1))]
    for device in pair.devices:
        device.open.set()
    assert all(future.result(LIMIT) for future in futures)
    assert [set().union(*device.served[-len(device.plans) :]) for device in pair.devices] == [{1, 5}, {2, 3, 4}]
    assert [replica.outstanding for replica in pair.replicas._replicas] == [0, 0]


def test_a_small_request_does_not_wait_while_a_large_one_is_divided(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    dividing, going_on = threading.Event(), threading.Event()

    def slowly(workload: Workload, outstanding: Sequence[int]) -> list[Shard]:
        if len(workload.document_lengths) == len(LARGE):
            dividing.set()
            assert going_on.wait(LIMIT)
        return shard_request(workload, outstanding)

    monkeypatch.setattr("qwen3_rerank_plugins.engine.scheduling.replicas.shard_request", slowly)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(pair.submit, request(1, *LARGE))
        assert dividing.wait(LIMIT)
        small = pool.submit(lambda: pair.submit(request(2, 5)).result(LIMIT))
        assert small.result(LIMIT) == expected(request(2, 5))
        going_on.set()
        assert large.result(LIMIT).result(LIMIT) == expected(request(1, *LARGE))
    assert [replica.outstanding for replica in pair.replicas._replicas] == [0, 0]


def test_both_load_at_the_first_request_even_if_one_has_nothing_to_do() -> None:
    pair = Pair()
    assert pair.submit(request(1, 5)).result(LIMIT) == expected(request(1, 5))
    until = time.monotonic() + LIMIT
    while not all(replica.scheduler.loaded for replica in pair.replicas._replicas):
        assert time.monotonic() < until, "one waits to be needed"
        time.sleep(0.01)


def test_nobody_waits_for_a_model_that_loads_while_another_is_ready() -> None:
    pair, loading = Pair(), threading.Event()
    second = pair.replicas._replicas[1].scheduler
    load = second._load

    def slowly() -> LoadedEngine:
        assert loading.wait(LIMIT)
        return load()

    second._load = slowly
    pair.submit(request(1, 5)).result(LIMIT)
    pair.devices[0].open.clear()
    busy = pair.submit(request(2, 900))
    assert pair.devices[0].entered.acquire(timeout=LIMIT)
    small = pair.submit(request(3, 5))
    pair.devices[0].open.set()
    assert small.result(LIMIT) == expected(request(3, 5))
    assert busy.result(LIMIT)
    loading.set()


def test_a_device_that_breaks_fails_its_own_request_only_and_is_named(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.break_on(0)
    bad, good = pair.submit(request(1, 50)), pair.submit(request(2, 60))
    with pytest.raises(PassError, match=r"The forward pass on cuda:0 failed: RuntimeError: an illegal memory access"):
        bad.result(LIMIT)
    assert good.result(LIMIT) == expected(request(2, 60))
    for number in range(3, 9):  # whoever fails is done at once, and would get all of them
        assert pair.submit(request(number, 5)).result(LIMIT) == expected(request(number, 5))
    assert pair.submit(request(9, *LARGE)).result(LIMIT) == expected(request(9, *LARGE))
    assert pair.passes[0] == 1
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("cuda:0 failed, and gets no requests for 30 seconds while others work")


def test_a_part_that_fails_fails_the_whole_and_stops_the_rest(pair: Pair) -> None:
    pair.break_on(1)
    pair.devices[0].open.clear()
    whole = pair.submit(request(1, *LARGE))
    with pytest.raises(PassError, match="on cuda:1 failed"):
        whole.result(LIMIT)
    pair.devices[0].open.set()
    assert pair.submit(request(2, 5)).result(LIMIT) == expected(request(2, 5))
    assert pair.passes[0] <= 2, "the rest of a part ran for nobody"


def test_after_its_rest_a_device_is_tried_again(pair: Pair) -> None:
    pair.break_on(0, 1)
    with pytest.raises(PassError):
        pair.submit(request(1, 50)).result(LIMIT)
    pair.submit(request(2, 5)).result(LIMIT)
    assert pair.passes == [1, 1]
    pair.now += COOLDOWN
    pair.submit(request(2, 5)).result(LIMIT)
    assert pair.passes == [2, 1]


def test_if_all_failed_all_are_tried() -> None:
    pair = Pair().warm()
    for number in (0, 1):
        pair.break_on(number, 1)
        with pytest.raises(PassError, match=f"cuda:{number}"):
            pair.submit(request(1, 50)).result(LIMIT)
    assert pair.submit(request(2, 5)).result(LIMIT) == expected(request(2, 5))


def test_a_device_that_cannot_load_fails_what_it_was_given_and_then_gets_nothing() -> None:
    pair = Pair()
    pair.broken_loads = {1}
    with pytest.raises(PassError, match="Loading the model on cuda:1 failed: OSError: no such device"):
        pair.submit(request(1, *LARGE)).result(LIMIT)
    for number in range(2, 6):
        assert pair.submit(request(number, *LARGE)).result(LIMIT) == expected(request(number, *LARGE))
    pair.broken_loads.clear()
    pair.now += COOLDOWN
    pair.submit(request(6, 5)).result(LIMIT)
    pair.replicas._replicas[1].scheduler.load().result(LIMIT)
    pair.submit(request(7, *LARGE)).result(LIMIT)
    assert all(pair.passes), "it loads again in the background, and nobody's request is spent on it"


def test_memory_that_runs_out_on_one_device_lowers_its_own_budget_only() -> None:
    pair = Pair(Device(), Device(memory=500)).warm()
    asked = request(1, *LARGE)
    assert pair.submit(asked).result(LIMIT) == expected(asked)
    engine = pair.replicas._replicas[0].scheduler.engine
    assert engine is not None
    assert engine.budget == 1000
    assert max(plan.tokens for plan in pair.devices[1].plans[-3:]) <= 500


def test_cancelling_drops_all_parts(pair: Pair) -> None:
    for device in pair.devices:
        device.open.clear()
    whole = pair.submit(request(1, *[600] * 30))
    for device in pair.devices:
        assert device.entered.acquire(timeout=LIMIT)
    assert whole.cancel()
    for device in pair.devices:
        device.open.set()
    after = request(2, *LARGE)
    assert pair.submit(after).result(LIMIT) == expected(after)
    with pytest.raises(CancelledError):
        whole.result(LIMIT)
    cancelled = [served for device in pair.devices for served in device.served if 1 in served]
    assert len(cancelled) == 2 + 1, "one pass each had begun; another 1 warmed up"
    assert [replica.outstanding for replica in pair.replicas._replicas] == [0, 0]


def test_scores_that_overflow_are_rescued_wherever_they_ran() -> None:
    pair = Pair(Overflowing(), Overflowing())
    asked = request(1, *LARGE, 7, 7, *LARGE, 7, 7)
    rescuers = [Device(), Device()]
    for replica, device, rescuer in zip(pair.replicas._replicas, pair.devices, rescuers, strict=True):
        replica.scheduler._load = lambda device=device, rescuer=rescuer: LoadedEngine(
            device, 1000, float32_fallback=rescuer
        )
    scores, rescored = pair.replicas.submit(asked, lambda *found: found, float32_fallback=True).result(LIMIT)
    assert scores == expected(asked)
    assert rescored == [30, 31, 62, 63]
    assert sum(len(rescuer.plans) for rescuer in rescuers) == 4


def test_a_finish_that_raises_fails_its_own_request_only(pair: Pair) -> None:
    def broken(_: DocumentScores, __: Collection[int]) -> None:
        raise RuntimeError("cannot finish")

    with pytest.raises(PassError, match="cannot finish"):
        pair.replicas.submit(request(1, *LARGE), broken).result(LIMIT)
    assert pair.submit(request(2, *LARGE)).result(LIMIT) == expected(request(2, *LARGE))


def test_closing_serves_whoever_waits_and_refuses_whoever_comes_later(pair: Pair) -> None:
    for device in pair.devices:
        device.open.clear()
    waiting = pair.submit(request(1, *LARGE))
    closing = threading.Thread(target=pair.replicas.close)
    closing.start()
    for device in pair.devices:
        device.open.set()
    closing.join(LIMIT)
    assert not closing.is_alive()
    assert waiting.result(0) == expected(request(1, *LARGE))
    with pytest.raises(ClosedError, match="Make a new one"):
        pair.submit(request(2, 5))
    pair.replicas.close()


def test_a_gathered_answer_keeps_nothing_alive(pair: Pair) -> None:
    gc.collect()
    gc.disable()
    try:
        future = pair.submit(request(1, *LARGE))
        assert future.result(LIMIT)
        gone = weakref.ref(future)
        del future
        pair.submit(request(2, 5)).result(LIMIT)  # both workers have gone on
        pair.submit(request(2, *LARGE)).result(LIMIT)
        assert gone() is None, "a circle of futures and callbacks"
    finally:
        gc.enable()


def test_thirty_two_threads_get_what_they_asked_for(pair: Pair) -> None:
    dice = random.Random(0)
    asked = [request(dice.randrange(1, 99), *(dice.randrange(1, 400) for _ in range(12))) for _ in range(320)]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda one: pair.submit(one).result(LIMIT), asked))
    assert found == [expected(one) for one in asked]
    assert all(pair.passes)
    assert [replica.outstanding for replica in pair.replicas._replicas] == [0, 0]


@pytest.fixture(scope="module")
def single() -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker("demo", device="cpu") as reranker:
        yield reranker


@pytest.fixture(scope="module")
def double() -> Iterator[Qwen3Reranker]:
    """Two real replicas on the CPU."""
    with Qwen3Reranker("demo", devices=["cpu", "cpu"]) as reranker:
        reranker.warmup()
        yield reranker


def workers(reranker: Qwen3Reranker) -> list[Scheduler]:
    scorer = reranker._scorer()
    assert isinstance(scorer, LocalScorer)
    return scorer._schedulers


def test_warmup_loads_every_replica_from_files_that_were_opened_once(
    double: Qwen3Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [worker.loaded for worker in workers(double)] == [True, True]
    found: list[EngineSettings] = []
    monkeypatch.setattr(
        "qwen3_rerank_plugins.engine.local.find_checkpoint",
        lambda settings: found.append(settings) or find_checkpoint(settings),
    )
    scorer = LocalScorer(EngineSettings(model="demo", devices=("cpu", "cpu")))
    scorer.warmup()
    scorer.close()
    assert len(found) == 1


@pytest.mark.parametrize(
    "options", [{}, {"max_length": 220}, {"max_length": 220, "long_documents": "windows"}], ids=str
)
def test_two_replicas_rank_as_one_device_does(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates, blank texts, cuts and windows included."""
    documents = [*LONG, LONG[3], "", "Beijing is the capital of China.", LONG[3], "Beijing is the capital of China."]
    with (
        Qwen3Reranker("demo", device="cpu", **options) as one,  # type: ignore[arg-type]
        Qwen3Reranker("demo", devices=["cpu", "cpu"], **options) as two,  # type: ignore[arg-type]
    ):
        two.warmup()
        busy = []
        for worker in workers(two):
            run = worker.engine.run  # type: ignore[union-attr]
            monkeypatch.setattr(
                worker,
                "_engine",
                LoadedEngine(lambda *pass_, run=run, worker=worker: busy.append(worker) or run(*pass_), 16_384),
            )
        expected_ranks, found = one.rank(QUERY, documents), two.rank(QUERY, documents)
    assert len(set(busy)) == 2, "the call did not use both"
    assert [document.index for document in found] == [document.index for document in expected_ranks]
    for mine, theirs in zip(found, expected_ranks, strict=True):
        assert mine.logit == theirs.logit or math.isclose(mine.logit, theirs.logit, abs_tol=1e-4)
        assert (mine.truncated_tokens, mine.span) == (theirs.truncated_tokens, theirs.span)


def test_thirty_two_threads_on_two_real_replicas_get_the_serial_answers(
    single: Qwen3Reranker, double: Qwen3Reranker
) -> None:
    calls = [(f"{QUERY} {number}", LONG[number % 20 :][: 1 + number % 3]) for number in range(48)]
    calls.append((QUERY, LONG))
    serial = [single.score([(query, text) for text in texts]) for query, texts in calls]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda call: double.score([(call[0], text) for text in call[1]]), calls))
    for mine, theirs in zip(found, serial, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_one_replica_that_is_not_there_leaves_the_other_at_work() -> None:
    with Qwen3Reranker("demo", devices=["cpu", "cuda:7"]) as reranker:
        with pytest.raises(SettingsError, match="device='cuda:7' is not usable here"):
            reranker.rank(QUERY, LONG)
        assert len(reranker.rank(QUERY, LONG)) == len(LONG)
        with pytest.raises(SettingsError, match="device='cuda:7'"):
            reranker.warmup()


def test_a_pass_of_a_real_replica_that_fails_is_named_and_the_other_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Qwen3Reranker("demo", devices=["cpu", "cpu"]) as reranker:
        reranker.warmup()
        first = workers(reranker)[0]
        model = first.engine.run._model  # type: ignore[union-attr, attr-defined]

        def broken(batch: object) -> None:
            raise RuntimeError("an illegal memory access")

        monkeypatch.setattr(first.engine.run, "_model", broken)  # type: ignore[union-attr]
        with pytest.raises(PassError, match=r"on cpu \(replica 1 of 2\) failed: RuntimeError: an illegal"):
            reranker.rank(QUERY, ["Beijing"])
        assert reranker.rank(QUERY, ["Beijing"])
        monkeypatch.setattr(first.engine.run, "_model", model)  # type: ignore[union-attr]


def test_replicas_on_one_device_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 60 * 2**20
    monkeypatch.setattr("qwen3_rerank_plugins.engine.loading.budget.free_memory", lambda device: free)
    budgets = []
    for devices in (["cpu"], ["cpu", "cpu"]):
        with Qwen3Reranker("demo", devices=devices, attention="sdpa") as reranker:  # an engine of its own
            reranker.warmup()
            budgets.append([worker.engine.budget for worker in workers(reranker)])  # type: ignore[union-attr]
    assert budgets[1][0] == budgets[1][1]
    assert budgets[1][0] < 0.6 * budgets[0][0]


def test_close_all_closes_every_replica() -> None:
    reranker = Qwen3Reranker("demo", devices=["cpu", "cpu"])
    reranker.warmup()
    both = workers(reranker)
    close_all()
    assert [worker.loaded for worker in both] == [False, False]
    assert len(reranker.rank(QUERY, ["a"])) == 1, "a closed engine is made anew"
    reranker.close()
