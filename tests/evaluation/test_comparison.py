"""Before and after: the order that is measured is the order that `rank` gives."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation import aevaluate, evaluate
from qwen3_rerank_plugins.evaluation.measures import measure
from tests.bundled_data import declaration_tasks
from tests.doubles import OverlapScorer
from tests.evaluation.conftest import WriteSet


def test_a_reranker_that_finds_the_answer_gains_what_there_is_to_gain(
    write_set: WriteSet, reranker: Qwen3Reranker
) -> None:
    file = write_set("a.jsonl", ("red apple", [("green pear", 0), ("red apple", 1)]))
    (ndcg, mrr, recall, mean_precision) = evaluate(reranker, [file], k=1).sets[0].measures
    assert (mrr.before.value, mrr.after.value, mrr.difference.value) == (0.5, 1.0, 0.5)
    assert (ndcg.before.value, ndcg.after.value) == (0.0, 1.0)
    assert (recall.before.value, recall.after.value) == (0.0, 1.0)
    assert (mean_precision.before.value, mean_precision.after.value) == (0.5, 1.0)


def test_ties_stay_in_the_order_of_the_set(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    file = write_set("a.jsonl", ("q", [("a", 0), ("b", 1), ("c", 0)]), ("q", [("c", 1), ("b", 0), ("a", 0)]))
    for measured in evaluate(reranker, [file]).mean:
        assert measured.before == measured.after
        assert (measured.difference.low, measured.difference.high) == (0.0, 0.0)


def test_the_mean_gives_every_set_the_same_weight(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    large = write_set("a.jsonl", *[("q", [("a", 1), ("b", 0)])] * 9)
    small = write_set("b.jsonl", ("q", [("a", 0), ("b", 1)]))
    found = evaluate(reranker, [large, small])
    assert found.mean[1].name == "MRR"
    assert found.mean[1].before.value == pytest.approx((1.0 + 0.5) / 2)


def test_a_query_without_a_relevant_candidate_is_counted_and_changes_nothing(
    write_set: WriteSet, reranker: Qwen3Reranker, scorer: OverlapScorer
) -> None:
    queries = [("x", [("a", 0), ("x", 1)]), ("y", [("y", 1), ("b", 0)])]
    without = evaluate(reranker, [write_set("a.jsonl", *queries)])
    asked = len(scorer.requests)
    file = write_set("a.jsonl", *queries, ("z", [("z", 0), ("b", 0)]))
    found = evaluate(reranker, [file])
    assert found.mean == without.mean
    assert (found.sets[0].queries, found.sets[0].left_out) == (2, 1)
    assert len(scorer.requests) == 2 * asked, "what is left out is not ranked either"


def by_length(query: str) -> str | None:
    return f"Find {query}" if len(query) < 3 else None


def test_an_instruction_may_be_a_function_and_the_evaluation_says_which(
    write_set: WriteSet, scorer: OverlapScorer
) -> None:
    file = write_set("a.jsonl", ("ab", [("a", 1), ("b", 0)]), ("abc", [("a", 1), ("b", 0)]), instruction="SET")
    found = evaluate(Qwen3Reranker(scorer=scorer, instruction=by_length), [file])
    assert [request.instruction for request in scorer.requests] == ["Find ab", DEFAULT_INSTRUCTION]
    assert found.instruction == "by_length"


@pytest.mark.parametrize(("asked", "own", "expected"), [("A", "B", "A"), (None, "B", "B"), (None, None, "SET")])
def test_an_instruction_asked_for_goes_before_the_rerankers_before_the_sets(
    write_set: WriteSet, scorer: OverlapScorer, asked: str | None, own: str | None, expected: str
) -> None:
    file = write_set("a.jsonl", ("q", [("a", 1)]), instruction="SET")
    evaluate(Qwen3Reranker(scorer=scorer, instruction=own, top_n=0, min_score=1.0), [file], instruction=asked)
    assert {request.instruction for request in scorer.requests} == {expected}


def test_one_seed_gives_one_evaluation(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    file = write_set("a.jsonl", *[(f"{n} b", [("a", n % 2), ("b", 1)]) for n in range(20)])
    first, again, other = (evaluate(reranker, [file], seed=seed, resamples=100) for seed in (0, 0, 1))
    assert first == again
    assert first.mean != other.mean


def test_in_a_notebook_evaluate_says_what_to_call_instead(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    file = write_set("a.jsonl", ("q", [("a", 1)]))

    async def notebook() -> None:
        with pytest.raises(RequestError, match=r"use `await aevaluate"):
            evaluate(reranker, [file])
        assert (await aevaluate(reranker, [file])).sets[0].queries == 1

    asyncio.run(notebook())


@pytest.mark.parametrize("options", [{"k": 0}, {"resamples": 0}])
def test_impossible_options_are_refused(write_set: WriteSet, reranker: Qwen3Reranker, options: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        evaluate(reranker, [write_set("a.jsonl", ("q", [("a", 1)]))], **options)  # type: ignore[arg-type]


def test_progress_adds_up_to_the_queries(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    shares: list[float] = []
    file = write_set("a.jsonl", *[("q", [(f"{n} {m}", 1) for m in range(100)]) for n in range(3)])
    evaluate(reranker, [file], on_progress=shares.append)
    assert sum(shares) == pytest.approx(3)


def test_the_demo_is_measured_as_it_ranks(demo: Qwen3Reranker, tmp_path: Path) -> None:

    lines = [json.dumps(task) for task in declaration_tasks("eng", 6)]
    (tmp_path / "some.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = evaluate(demo, [tmp_path / "some.jsonl"]).sets[0]
    before, after = [], []
    for row in map(json.loads, lines):
        texts = [candidate["text"] for candidate in row["candidates"]]
        judged = [candidate["relevance"] for candidate in row["candidates"]]
        before.append(judged)
        ranked = demo.rank(row["query"], texts, instruction=row["instruction"])
        after.append([judged[document.index] for document in ranked])
    for rankings, value in ((before, found.measures[0].before.value), (after, found.measures[0].after.value)):
        assert value == pytest.approx(sum(figures.ndcg for figures in measure(rankings)) / 6)
    assert found.measures[0].after.value != found.measures[0].before.value
