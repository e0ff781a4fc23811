"""Concurrent callers in threads, tasks, event loops and processes get the same results as a single caller."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import NoRoomError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain import corpus

Answers = list[tuple[str | None, float]]


def answers(documents: list[Document]) -> Answers:
    return [(document.id, document.metadata["relevance_score"]) for document in documents]


def rank(compressor: Qwen3Rerank, question: str) -> Answers:
    return answers(compressor.compress_documents(corpus.documents(), question))


async def arank(compressor: Qwen3Rerank, question: str) -> Answers:
    return answers(await compressor.acompress_documents(corpus.documents(), question))


def assert_alike(found: Answers, expected: Answers) -> None:
    """The same order; the last bits of a score depend on the other requests of its batch."""
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.fixture(scope="module")
def questions(model: str) -> list[tuple[str, Answers]]:
    """Questions, with what a lone caller is told."""
    compressor = Qwen3Rerank(model=model, top_n=None)
    return [(question, rank(compressor, question)) for question in corpus.QUESTIONS]


def test_32_threads_get_what_a_lone_caller_gets(compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]) -> None:
    work = questions * 8
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda asked: rank(compressor, asked[0]), work))
    for answer, (_, expected) in zip(found, work, strict=True):
        assert_alike(answer, expected)


def test_32_threads_may_be_the_first_to_load(model: str, questions: list[tuple[str, Answers]]) -> None:
    close_all()
    compressor = Qwen3Rerank(model=model, top_n=None)
    question, expected = questions[0]
    with ThreadPoolExecutor(32) as threads:
        for answer in threads.map(lambda _: rank(compressor, question), range(32)):
            assert_alike(answer, expected)


def test_20_gathered_tasks_get_what_a_lone_caller_gets(
    compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]
) -> None:
    async def ask_all() -> list[Answers]:
        return await asyncio.gather(*(arank(compressor, questions[i % len(questions)][0]) for i in range(20)))

    for i, answer in enumerate(asyncio.run(ask_all())):
        assert_alike(answer, questions[i % len(questions)][1])


def test_one_compressor_serves_one_loop_after_another(
    compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]
) -> None:
    question, expected = questions[0]
    for _ in range(2):
        assert_alike(asyncio.run(arank(compressor, question)), expected)


@pytest.mark.asyncio
async def test_the_synchronous_method_works_inside_a_running_loop(
    compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]
) -> None:
    question, expected = questions[1]
    assert_alike(rank(compressor, question), expected)
    assert_alike(await arank(compressor, question), expected)


@pytest.mark.asyncio
async def test_the_loop_goes_on_turning_while_documents_are_scored(compressor: Qwen3Rerank) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    turning = asyncio.create_task(turn())
    await compressor.acompress_documents([Document(f"red and green {i} " * 60) for i in range(60)], "red")
    turning.cancel()
    assert turns > 5


@pytest.mark.asyncio
async def test_after_a_cancelled_call_the_next_one_is_served(
    compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]
) -> None:
    many = [Document(f"red and green {i} " * 100) for i in range(30)]
    for patience in (0, 0.01, 0.1):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(compressor.acompress_documents(many, "red"), patience)
    question, expected = questions[0]
    assert_alike(await arank(compressor, question), expected)


@pytest.mark.asyncio
async def test_a_bad_call_among_good_ones_fails_alone(
    compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]
) -> None:
    calls = [arank(compressor, question) for question, _ in questions]
    bad = arank(compressor, "word " * 50_000)
    *found, error = await asyncio.gather(*calls, bad, return_exceptions=True)
    assert isinstance(error, NoRoomError)
    for answer, (_, expected) in zip(found, questions, strict=True):
        assert_alike(answer, expected)


def in_another_process(pickled: bytes, question: str) -> Answers:
    return rank(pickle.loads(pickled), question)


@pytest.mark.slow
def test_a_pickle_ranks_in_a_spawned_process(compressor: Qwen3Rerank, questions: list[tuple[str, Answers]]) -> None:
    question, expected = questions[0]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert_alike(processes.submit(in_another_process, pickle.dumps(compressor), question).result(), expected)


def report_order(compressor: Qwen3Rerank, pipe: Any) -> None:
    pipe.send(rank(compressor, "red"))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_after_loading_loads_for_itself(compressor: Qwen3Rerank) -> None:
    expected = rank(compressor, "red")
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    child = forking.Process(target=report_order, args=(compressor, theirs))
    child.start()
    assert ours.poll(60)
    assert_alike(ours.recv(), expected)
    child.join()


class HoldingScorer(OverlapScorer):
    """Answers nobody before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._holding = True
        self._held: list[tuple[Future[Scores], Future[Scores]]] = []

    def submit(self, request: RerankRequest) -> Future[Scores]:
        answer = super().submit(request)
        if not self._holding:
            return answer
        waiting: Future[Scores] = Future()
        self._held.append((waiting, answer))
        return waiting

    def release(self) -> None:
        self._holding = False
        for waiting, answer in self._held:
            waiting.set_result(answer.result())


@pytest.mark.asyncio
async def test_a_hundred_tasks_wait_at_once_without_a_thread_each() -> None:
    scorer = HoldingScorer()
    compressor = Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer))
    tasks = [asyncio.create_task(arank(compressor, "What causes the tides?")) for _ in range(100)]
    try:
        async with asyncio.timeout(10):
            while len(scorer.requests) < 100:
                await asyncio.sleep(0.01)
    finally:
        scorer.release()
    assert len({tuple(answer) for answer in await asyncio.gather(*tasks)}) == 1
