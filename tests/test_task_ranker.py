"""Many tasks at once: in order, in a window, in pieces, and the same ranking as without."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._task_ranker import MAX_IN_FLIGHT, SUBREQUEST_SIZE, RankedTask, TaskRanker
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import PassError, RequestError
from tests.doubles import OverlapScorer

words = st.text("ab ", max_size=6)


def ranker(scorer: Any, **options: Any) -> TaskRanker:
    return TaskRanker(Qwen3Reranker(scorer=scorer), **{"on_progress": lambda _: None} | options)


def rank_all(ranker: TaskRanker, tasks: Any) -> list[RankedTask]:
    async def collect() -> list[RankedTask]:
        return [ranked async for ranked in ranker.rank_all(tasks)]

    return asyncio.run(collect())


def a_task(query: str, texts: list[str], **fields: Any) -> RankingTask:
    return RankingTask(query, tuple(map(Candidate, texts)), **fields)


class WaitingScorer(OverlapScorer):
    """Answers nobody before `company` requests wait, and remembers how many waited at most."""

    def __init__(self, company: int) -> None:
        super().__init__()
        self.company = company
        self.most = 0
        self.waiting: list[tuple[RerankRequest, Future[Scores]]] = []
        self.lock = threading.Lock()

    def submit(self, request: RerankRequest) -> Future[Scores]:
        future: Future[Scores] = Future()
        with self.lock:
            self.waiting.append((request, future))
            self.most = max(self.most, len(self.waiting))
            if len(self.waiting) < self.company:
                return future
            answered, self.waiting = self.waiting, []
        for waiting, its_future in answered:
            its_future.set_result(super().submit(waiting).result())
        return future


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(words, st.lists(words, max_size=5)), max_size=5),
    st.none() | st.integers(0, 3),
    st.none() | st.floats(0, 1),
)
def test_every_task_is_ranked_as_the_facade_ranks_it(
    asked: list[tuple[str, list[str]]], top_n: int | None, min_score: float | None
) -> None:
    found = rank_all(ranker(OverlapScorer(), top_n=top_n, min_score=min_score), [a_task(*task) for task in asked])
    alone = Qwen3Reranker(scorer=OverlapScorer(), top_n=top_n, min_score=min_score)
    assert [list(ranked.documents) for ranked in found] == [alone.rank(query, texts) for query, texts in asked]


def test_a_long_task_travels_in_pieces_and_comes_back_whole() -> None:
    texts = [f"a{'a' * (number % 7)} {'b ' * (number % 3)}{number}" for number in range(3 * SUBREQUEST_SIZE + 5)]
    random.Random(1).shuffle(texts)
    scorer, shares = OverlapScorer(), list[float]()
    (ranked,) = rank_all(ranker(scorer, on_progress=shares.append), [a_task("b aaa", texts)])
    assert list(ranked.documents) == Qwen3Reranker(scorer=OverlapScorer()).rank("b aaa", texts)
    assert sorted(len(request.documents) for request in scorer.requests) == [
        5,
        SUBREQUEST_SIZE,
        SUBREQUEST_SIZE,
        SUBREQUEST_SIZE,
    ]
    assert sum(shares) == pytest.approx(1)


def test_equal_documents_are_scored_once_and_stay_in_order() -> None:
    scorer = OverlapScorer()
    (ranked,) = rank_all(ranker(scorer), [a_task("b", ["a", "b", "a", "b"] * SUBREQUEST_SIZE)])
    assert [request.documents for request in scorer.requests] == [("a", "b")]
    assert [document.index for document in ranked.documents[:4]] == [1, 3, 5, 7]
    assert len(ranked.documents) == 4 * SUBREQUEST_SIZE


def test_tasks_wait_together_so_that_the_engine_can_merge_them() -> None:
    scorer = WaitingScorer(company=MAX_IN_FLIGHT)
    found = rank_all(ranker(scorer), [a_task(f"q{number}", ["q0", "x"]) for number in range(2 * MAX_IN_FLIGHT)])
    assert [ranked.task.query for ranked in found] == [f"q{number}" for number in range(2 * MAX_IN_FLIGHT)]
    assert scorer.most == MAX_IN_FLIGHT


def test_no_more_tasks_are_drawn_than_the_window_holds() -> None:
    drawn = []

    def tasks() -> Iterator[RankingTask]:
        for number in range(5 * MAX_IN_FLIGHT):
            drawn.append(number)
            yield a_task("q", [str(number)])

    async def first() -> None:
        answers = ranker(OverlapScorer()).rank_all(tasks())
        await anext(answers)

    asyncio.run(first())
    assert len(drawn) == MAX_IN_FLIGHT


def test_an_instruction_given_goes_before_the_tasks_own() -> None:
    tasks = [a_task("q", ["a"], instruction="theirs"), a_task("q", ["b"])]
    for ours, expected in ((None, {"a": "theirs"}), ("ours", {"a": "ours", "b": "ours"})):
        scorer = OverlapScorer()
        rank_all(ranker(scorer, instruction=ours), tasks)
        used = {request.documents[0]: request.instruction for request in scorer.requests}
        assert expected.items() <= used.items()


def test_one_failure_ends_the_run_and_drops_what_waits() -> None:
    futures: list[Future[Scores]] = []

    class FailingScorer(OverlapScorer):
        def submit(self, request: RerankRequest) -> Future[Scores]:
            future: Future[Scores] = Future()
            futures.append(future)
            if request.query == "bad":
                future.set_exception(PassError("broken"))
            return future

    with pytest.raises(PassError, match="broken"):
        rank_all(ranker(FailingScorer()), [a_task("bad", ["a"]), a_task("q", ["a"]), a_task("q", ["b"])])
    assert futures  # what had not been submitted when it failed never is
    assert all(future.done() for future in futures)


def test_a_request_that_cannot_be_ranked_is_named_by_its_place() -> None:
    class RefusingScorer(OverlapScorer):
        def submit(self, request: RerankRequest) -> Future[Scores]:
            raise RequestError("no room")

    with pytest.raises(RequestError, match=r"^set\.jsonl line 9: no room$"):
        rank_all(ranker(RefusingScorer()), [a_task("q", ["a"], location="set.jsonl line 9")])
