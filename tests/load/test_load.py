"""Many callers at once, small: the load test and the soak of `tests/load/soak.py`, and what happens only under load.

The engine is the real one on the demo checkpoint. A gate before its batches replaces sleeping.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, RankedDocument, close_all
from qwen3_rerank_plugins.errors import ClosedError, PassError
from tests.load.call_trace import Moment
from tests.load.expected_answers import ask_serially
from tests.load.fault_injection import monitored_engines
from tests.load.faults import BAD_INPUTS, SOAK_RATES
from tests.load.gate import LIMIT, Gate, pass_through
from tests.load.results import LoadPlan, LoadResults
from tests.load.run import run_load
from tests.load.texts import Texts, gather_texts

pytestmark = pytest.mark.slow

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", "The capital of Japan is Tokyo.", ""]
LONG = ["Long words about cities and capitals. " * 20 + str(number) for number in range(8)]


@pytest.fixture(scope="module")
def texts() -> Texts:
    return gather_texts(None)


def explain(results: LoadResults) -> str:
    return "\n".join([*results.failures, *results.complaints])


def test_threads_and_coroutines_at_once_get_the_serial_answers_through_every_interface(texts: Texts) -> None:
    results = run_load(LoadPlan(requests=400, threads=16, coroutines=16, questions=60, seed=1), texts)
    assert results.failures == (), explain(results)
    assert (results.calls, results.answered, results.lost, results.wrong) == (400, 400, 0, 0)
    assert len(results.doors) == 8
    assert all(interface.answered > 20 for interface in results.doors)
    assert results.log_odds_off < 1e-4
    assert results.engines == 1, "the interfaces do not share an engine"
    assert 1 < results.most_waiting <= results.waiting_bound, "the queue is longer than its callers"


def test_faults_reach_those_they_concern_and_nobody_else(texts: Texts) -> None:
    rates = SOAK_RATES.times(8)
    results = run_load(
        LoadPlan(requests=250, threads=16, coroutines=16, questions=40, seed=2, rates=rates, patience=60), texts
    )
    assert results.failures == (), explain(results)
    assert results.lost == results.wrong == 0
    assert all(fault.met == fault.survived for fault in results.faults)
    met = {fault.fault for fault in results.faults}
    assert met >= {"bad input", "pass that raises", "NaN scores", "out of memory, pass cut"}
    assert any(name.startswith("cancelled") for name in met)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate().install(monkeypatch)


@pytest.fixture
def reranker(gate: Gate) -> Iterator[Qwen3Reranker]:
    """On an engine of its own, small enough that eight long documents take several passes."""
    with Qwen3Reranker("demo", max_batch_tokens=700) as reranker:
        yield reranker
        gate.open.set()
    close_all()


def alike(found: list[RankedDocument], expected: list[RankedDocument]) -> bool:
    return [one.index for one in found] == [one.index for one in expected] and [
        one.logit for one in found
    ] == pytest.approx([one.logit for one in expected], abs=1e-4)


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_before_its_pass_never_runs(reranker: Qwen3Reranker, gate: Gate) -> None:
    first = asyncio.create_task(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(pass_through, gate.entered)
    queued = asyncio.create_task(reranker.arank(QUERY, LONG))
    await asyncio.to_thread(pass_through, gate.submitted, 2)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    gate.open.set()
    assert alike(await first, await reranker.arank(QUERY, DOCUMENTS))
    assert [plan.document_count for plan in gate.plans] == [3, 3]


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_while_a_pass_runs_gets_no_further_one(
    reranker: Qwen3Reranker, gate: Gate
) -> None:
    running = asyncio.create_task(reranker.arank(QUERY, LONG))
    await asyncio.to_thread(pass_through, gate.entered)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.open.set()
    assert (await reranker.arank(QUERY, DOCUMENTS))[0].index == 1
    assert len(gate.plans) == 2
    assert gate.plans[0].document_count < len(LONG)


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_after_its_pass_is_cancelled_and_harms_nobody(
    reranker: Qwen3Reranker, gate: Gate
) -> None:
    gate.open.set()
    late = asyncio.create_task(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(pass_through, gate.submitted)
    pass_through(gate.left)  # holds the loop, so that the answer is there and the task has not heard of it
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    again = asyncio.create_task(reranker.arank(QUERY, DOCUMENTS))
    assert (await again)[0].index == 1
    assert not again.cancel(), "an answer that was given stays"


@pytest.mark.asyncio
async def test_the_synchronous_methods_work_inside_a_running_loop(reranker: Qwen3Reranker, gate: Gate) -> None:
    gate.open.set()
    assert alike(reranker.rank(QUERY, DOCUMENTS), await reranker.arank(QUERY, DOCUMENTS))
    assert reranker.score([(QUERY, DOCUMENTS[1])]) == pytest.approx(await reranker.ascore([(QUERY, DOCUMENTS[1])]))


def test_a_broken_pass_fails_its_caller_while_the_others_who_wait_get_their_answers(
    reranker: Qwen3Reranker, gate: Gate
) -> None:
    gate.break_on = lambda requests, _: any(len(request.document_ids) == 5 for request in requests)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(reranker.rank, QUERY, DOCUMENTS)
        pass_through(gate.entered)
        bad = pool.submit(reranker.rank, QUERY, LONG[:5])
        good = [pool.submit(reranker.rank, query, LONG[:6]) for query in ("one", "two")]
        pass_through(gate.submitted, 4)
        gate.open.set()
        with pytest.raises(PassError, match="the kernel fell over"):
            bad.result(LIMIT)
        assert first.result(LIMIT)[0].index == 1
        for query, future in zip(("one", "two"), good, strict=True):
            assert alike(future.result(LIMIT), reranker.rank(query, LONG[:6]))


def test_closing_with_callers_who_wait_answers_them_all_and_refuses_the_next(
    reranker: Qwen3Reranker, gate: Gate
) -> None:
    queries = [f"{QUERY} {number}" for number in range(8)]
    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(reranker.rank, query, DOCUMENTS) for query in queries]
        pass_through(gate.submitted, 8)
        closing = pool.submit(reranker.close)
        gate.open.set()
        closing.result(LIMIT)
        answers = [future.result(LIMIT) for future in waiting]
    with pytest.raises(ClosedError, match="Make a new one"):
        reranker.rank(QUERY, DOCUMENTS)
    with Qwen3Reranker("demo") as other:
        assert all(alike(other.rank(q, DOCUMENTS), answer) for q, answer in zip(queries, answers, strict=True))


def test_callers_block_so_that_the_queue_is_as_long_as_there_are_callers(texts: Texts) -> None:
    engine = {"model": "demo", "max_batch_tokens": 701}
    with monitored_engines(SOAK_RATES.times(0), 0) as monitor, Qwen3Reranker(**engine) as reranker:  # type: ignore[arg-type]
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(lambda query: reranker.rank(query, DOCUMENTS), map(str, range(200))))) == 200
        assert 1 <= monitor.most_waiting <= 8
        assert monitor.waiting == 0


def test_the_interpreter_exits_while_daemon_threads_wait_and_go_on_asking() -> None:
    program = """
import threading
from qwen3_rerank_plugins import Qwen3Reranker, RerankError

reranker = Qwen3Reranker("demo", max_batch_tokens=702)
reranker.warmup()
ready = threading.Barrier(5)

def ask(number):
    ready.wait()
    try:
        while True:
            reranker.rank(f"question {number}", [f"{number} {word} " * 20 for word in range(8)])
    except RerankError:
        pass

for number in range(4):
    threading.Thread(target=ask, args=(number,), daemon=True).start()
ready.wait()
print("leaving")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "leaving")
    assert "Traceback" not in done.stderr


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("way", ["warmup", "rank"])
def test_a_child_forked_while_a_thread_opens_the_checkpoint_opens_it_for_itself(way: str) -> None:
    reranker = Qwen3Reranker("demo", max_batch_tokens=703)
    calls: dict[str, Callable[[], Any]] = {
        "warmup": reranker.warmup,
        "rank": lambda: reranker.rank(QUERY, DOCUMENTS),
    }
    reading, writing = os.pipe()
    with reranker._scorer()._opening:  # type: ignore[attr-defined]
        child = os.fork()
        if child == 0:
            threading.Timer(LIMIT, os._exit, [1]).start()  # a hang would be the child's for ever
            try:
                calls[way]()
                os.write(writing, b"done")
            finally:
                os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"done"
    os.close(reading)
    reranker.close()


def test_no_moment_of_cancelling_and_no_kind_of_bad_input_stands_for_nothing() -> None:
    """What the soak draws from; an empty list would make it pass for nothing."""
    assert len(Moment) == 5
    assert len(BAD_INPUTS) > 10
    assert ask_serially([], {"model": "demo"}) == []
