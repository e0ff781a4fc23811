"""Rows are answered concurrently and in their order, and a bad row affects no other row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.data.tasks import parse_task
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import (
    CheckpointNotFoundError,
    DeviceMemoryError,
    NonFiniteScoreError,
    PassError,
    RequestError,
    SettingsError,
)
from qwen3_rerank_plugins.ray.answers import Answerer, ParseRow
from tests.doubles import OverlapScorer


def ask(query: Any, *texts: str, **fields: Any) -> ParseRow:
    return partial(parse_task, Record({"query": query, "documents": list(texts), **fields}, f"row of {query}"))


def answerer(scorer: Any, on_error: Any = "raise", **settings: Any) -> Answerer:
    return Answerer(Qwen3Reranker(scorer=scorer, **settings), on_error)


class FailingScorer(OverlapScorer):
    """Fails a request whose query is "bad", through its future."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure
        self.warmups = 0

    def submit(self, request: RerankRequest) -> Future[Scores]:
        if request.query != "bad":
            return super().submit(request)
        future: Future[Scores] = Future()
        future.set_exception(self.failure)
        return future

    def warmup(self) -> None:
        self.warmups += 1


def test_answers_stand_in_the_order_of_the_rows_and_documents_best_first() -> None:
    queries = [("honey", "sea") if number % 2 else ("sea", "honey") for number in range(100)]
    answers = answerer(OverlapScorer()).answer([ask(first, "the sea", "bees make honey") for first, _ in queries])
    assert [answer.results and answer.results[0]["index"] for answer in answers] == [
        1 if first == "honey" else 0 for first, _ in queries
    ]


def test_the_rerankers_own_limits_and_instruction_hold_and_the_instruction_goes_before_the_rows() -> None:
    scorer = OverlapScorer()
    (answer,) = answerer(scorer, instruction="Ours", top_n=1).answer([ask("a", "a", "b", instruction="Theirs")])
    assert scorer.requests[-1].instruction == "Ours"
    assert answer.results is not None
    assert len(answer.results) == 1
    answerer(scorer).answer([ask("a", "a", instruction="Theirs")])
    assert scorer.requests[-1].instruction == "Theirs"


@pytest.mark.parametrize("failure", [NonFiniteScoreError("NaN came out."), DeviceMemoryError("Too little.")])
def test_a_row_that_cannot_be_ranked_is_an_answer_that_says_why_if_that_was_asked_for(failure: Exception) -> None:
    rows = [ask("a", "a"), ask("bad", "b"), ask(None, "c"), ask("d", "d")]
    first, bad, unread, last = answerer(FailingScorer(failure), "column").answer(rows)
    assert first.results
    assert last.results
    assert first.error is last.error is None
    assert (bad.results, bad.error) == (None, f"{type(failure).__name__}: row of bad: {failure}")
    assert (unread.results, unread.error) == (
        None,
        "RequestError: row of None: 'query' must be a string, got null.",
    )


@pytest.mark.parametrize("failure", [NonFiniteScoreError("NaN.", [0]), RequestError("No.")])
def test_else_it_is_an_error_that_names_the_row(failure: Exception) -> None:
    with pytest.raises(type(failure), match=r"^row of bad: N"):
        answerer(FailingScorer(failure)).answer([ask("a", "a"), ask("bad", "b")])


def test_an_error_with_a_place_keeps_what_it_knew_of_documents() -> None:
    with pytest.raises(NonFiniteScoreError) as raised:
        answerer(FailingScorer(NonFiniteScoreError("NaN.", [3]))).answer([ask("bad", "b")])
    assert raised.value.documents == (3,)


@pytest.mark.parametrize("on_error", ["raise", "column"])
def test_what_breaks_the_model_is_no_rows_fault(on_error: str) -> None:
    with pytest.raises(PassError):
        answerer(FailingScorer(PassError("The device is lost.")), on_error).answer([ask("a", "a"), ask("bad", "b")])


def test_a_model_that_cannot_be_loaded_is_one_error_and_not_one_a_row() -> None:
    reranker = Qwen3Reranker("nowhere/to-be-found", local_files_only=True)
    with pytest.raises(CheckpointNotFoundError):
        Answerer(reranker, "column").answer([ask("a", "a"), ask("b", "b")])


def test_the_model_is_warmed_up_once_and_never_for_nothing() -> None:
    scorer = FailingScorer(RequestError("No."))
    ours = answerer(scorer)
    assert ours.answer([]) == []
    assert scorer.warmups == 0
    ours.answer([ask("a", "a")])
    ours.answer([ask("a", "a")])
    assert scorer.warmups == 1


def test_it_answers_below_a_running_loop_too() -> None:
    async def in_a_notebook() -> Any:
        return answerer(OverlapScorer()).answer([ask("a", "a")])

    assert len(asyncio.run(in_a_notebook())) == 1


def test_an_unknown_way_with_errors_is_refused() -> None:
    with pytest.raises(SettingsError, match="on_error must be one of 'raise', 'column'"):
        answerer(OverlapScorer(), "ignore")


def test_rows_wait_together_so_that_the_engine_can_merge_them() -> None:
    waiting: list[Future[Scores]] = []

    class Company(OverlapScorer):
        """Answers nobody before eight wait."""

        def submit(self, request: RerankRequest) -> Future[Scores]:
            future: Future[Scores] = Future()
            waiting.append(future)
            if len(waiting) == 8:
                for one in waiting:
                    one.set_result(Scores((0.0,), (0,)))
            return future

    calls: Callable[[], Any] = partial(answerer(Company()).answer, [ask(str(n), "a") for n in range(8)])
    assert len(calls()) == len(waiting) == 8
