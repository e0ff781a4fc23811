"""Where asynchronous calls are tokenized: small ones do not wait for large ones, and threads are few and end."""

from __future__ import annotations

import contextvars
import functools
import gc
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future

import pytest

from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import THREADS, TokenizerThreads

LIMIT = 30.0


class Gate:
    """Functions that wait until the gate is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        assert self.open.wait(LIMIT)
        with self._lock:
            self.running -= 1
        return "through"


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "qwen3-rerank-tokenize"]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_small_call_does_not_wait_for_twelve_large_ones(gate: Gate) -> None:
    threads, owner = TokenizerThreads(), object()
    large = [threads.submit(owner, 3_000_000, gate) for _ in range(12)]
    assert gate.entered.acquire(timeout=LIMIT)
    assert threads.submit(owner, 100, lambda: "small").result(LIMIT) == "small"
    assert threads.submit(owner, 300_000, lambda: "medium").result(LIMIT) == "medium"
    gate.open.set()
    assert [future.result(LIMIT) for future in large] == ["through"] * 12
    assert gate.most <= THREADS


def test_a_call_does_not_wait_for_a_scorer_that_another_one_asks(gate: Gate) -> None:
    threads, loading, ready = TokenizerThreads(), object(), object()
    waiting = [threads.submit(loading, 100, gate) for _ in range(50)]
    assert threads.submit(ready, 100, lambda: "here").result(LIMIT) == "here"
    gate.open.set()
    assert [future.result(LIMIT) for future in waiting] == ["through"] * 50


def test_thousands_of_calls_have_a_few_threads_and_none_when_they_are_through(gate: Gate) -> None:
    threads, owner = TokenizerThreads(), object()
    before = len(ours())
    futures: list[Future[str]] = [threads.submit(owner, number, gate) for number in range(5000)]
    assert len(ours()) - before <= 5 * THREADS
    gate.open.set()
    assert all(future.result(LIMIT) for future in futures)
    for thread in ours():
        thread.join(LIMIT)
    assert len(ours()) <= before
    assert threads._queues == {}


def test_what_is_cancelled_while_it_waits_never_runs(gate: Gate) -> None:
    threads, owner, ran = TokenizerThreads(), object(), list[int]()
    held = [threads.submit(owner, 5, gate) for _ in range(THREADS)]
    futures = [threads.submit(owner, 5, lambda number=number: ran.append(number)) for number in range(4)]
    assert futures[1].cancel()
    assert futures[2].cancel()
    gate.open.set()
    assert [future.result(LIMIT) for future in (*held, futures[0], futures[3])] == ["through"] * THREADS + [None, None]
    assert sorted(ran) == [0, 3]


def test_a_function_that_raises_fails_its_own_future_only() -> None:
    threads, owner = TokenizerThreads(), object()

    def broken() -> None:
        raise ValueError("broken")

    futures = [threads.submit(owner, 1, broken), threads.submit(owner, 1, lambda: None)]
    assert str(futures[0].exception(LIMIT)) == "broken"
    assert futures[1].result(LIMIT) is None


@pytest.mark.parametrize("broken", [False, True])
def test_whoever_hears_of_a_result_finds_nothing_kept_that_it_was_made_from(broken: bool) -> None:
    class Documents:
        pass

    def work(documents: Documents) -> None:
        if broken:
            raise ValueError("broken")

    threads, owner, documents = TokenizerThreads(), object(), Documents()
    gone, found = weakref.ref(documents), list[object]()
    gate = threading.Event()
    gc.collect()
    future = threads.submit(owner, 1, functools.partial(lambda kept: (gate.wait(LIMIT), work(kept)), documents))
    del documents
    future.add_done_callback(lambda _: found.append(gone() if not broken else None))
    gate.set()
    future.exception(LIMIT)
    for thread in ours():
        thread.join(LIMIT)
    assert found == [None]
    del future
    assert gone() is None, "a circle of error, frame and future"


def test_a_function_sees_the_context_of_its_caller() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    threads, owner, futures = TokenizerThreads(), object(), []
    for name in ("a", "b"):
        context = contextvars.copy_context()
        context.run(tenant.set, name)
        futures.append(context.run(threads.submit, owner, 1, tenant.get))
    assert [future.result(LIMIT) for future in futures] == ["a", "b"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_lanes_are_full_has_lanes_of_its_own(gate: Gate) -> None:
    from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import tokenizer_threads as threads

    owner = object()
    held = [threads.submit(owner, 1, gate) for _ in range(THREADS + 1)]
    assert gate.entered.acquire(timeout=LIMIT)
    with threads._lock:
        child = os.fork()
        if child == 0:
            threading.Timer(LIMIT, os._exit, [1]).start()  # a hang would be the child's for ever
            os._exit(0 if threads.submit(owner, 1, lambda: "child").result(LIMIT) == "child" else 2)
    gate.open.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [future.result(LIMIT) for future in held] == ["through"] * (THREADS + 1)


@pytest.mark.slow
def test_the_interpreter_exits_cleanly_while_calls_are_tokenized() -> None:
    program = """
import asyncio
from qwen3_rerank_plugins import Qwen3Reranker

reranker = Qwen3Reranker("demo", max_batch_tokens=713)

async def main():
    reranker.warmup()
    texts = [f"{number} words " * 300 for number in range(200)]
    tasks = [asyncio.create_task(reranker.arank(f"query {number}", texts)) for number in range(8)]
    await asyncio.sleep(0.05)
    print("leaving")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "leaving")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
