"""Every stage of a search judged over the same queries, what it lost included."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import pytrec_eval

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation import evaluate_search, record_of, write_run
from qwen3_rerank_plugins.evaluation.collection import Collection, JudgedQuery
from qwen3_rerank_plugins.evaluation.report import grids_of

COLLECTION = Collection(
    "sets/mine",
    {name: f"text of {name}" for name in "abcdefgh"},
    (JudgedQuery("q1", "one", {"a": 1, "b": 1}), JudgedQuery("q2", "two", {"c": 3})),
    {},
)
STAGES = {
    "first": [["d", "a", "e", "b"], ["d", "e", "c"]],
    "second": [["a", "d"], ["c", "d"]],
    "third": [["a"], ["d"]],
}


def discount(place: int) -> float:
    return 1 / math.log2(place + 1)


def test_the_figures_are_those_of_the_definitions() -> None:
    first, second, third = evaluate_search(COLLECTION, STAGES, k=3).stages
    ideal = discount(1) + discount(2)
    assert first.ndcg.value == pytest.approx((discount(2) / ideal + discount(3)) / 2)
    assert second.ndcg.value == pytest.approx((discount(1) / ideal + 1) / 2), "b was lost, and counts"
    assert third.ndcg.value == pytest.approx(discount(1) / ideal / 2)
    assert first.gain is None
    assert second.gain is not None
    assert second.gain.value == pytest.approx(second.ndcg.value - first.ndcg.value)
    assert (first.reciprocal_rank.value, third.reciprocal_rank.value) == (pytest.approx((1 / 2 + 1 / 3) / 2), 0.5)
    assert [stage.found.value for stage in (first, second, third)] == [1.0, 0.75, 0.25]
    assert [stage.hands_on for stage in (first, second, third)] == [4, 2, 1]


def test_a_run_that_was_written_gives_trec_eval_the_same_figures(tmp_path: Path) -> None:
    judgements = {query.query_id: dict(query.relevant) for query in COLLECTION.queries}
    found = evaluate_search(COLLECTION, STAGES, k=3)
    for stage, (name, rankings) in zip(found.stages, STAGES.items(), strict=True):
        write_run(tmp_path / "runs" / name, COLLECTION, rankings, f"the {name} stage")
        with (tmp_path / "runs" / name).open(encoding="utf-8") as file:
            run = pytrec_eval.parse_run(file)
        values = pytrec_eval.RelevanceEvaluator(judgements, {"ndcg_cut.3"}).evaluate(run)
        assert stage.ndcg.value == pytest.approx(sum(one["ndcg_cut_3"] for one in values.values()) / 2)


def test_a_stage_that_finds_nothing_is_worth_nothing() -> None:
    (stage,) = evaluate_search(COLLECTION, {"empty": [[], []]}).stages
    assert (stage.ndcg.value, stage.reciprocal_rank.value, stage.found.value, stage.hands_on) == (0, 0, 0, 0)


def test_the_same_order_gains_nothing_with_certainty() -> None:
    _, again = evaluate_search(COLLECTION, {"one": STAGES["first"], "again": STAGES["first"]}).stages
    assert again.gain is not None
    assert (again.gain.value, again.gain.low, again.gain.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("rankings", "message"),
    [
        ([["a"]], "1 ranking for 2 queries"),
        ([["a", "a"], []], "query q1 has a passage twice"),
        ([["a"], ["z"]], "query q2 has 'z', which is not a passage"),
    ],
)
def test_rankings_that_cannot_be_of_this_collection_are_refused(rankings: list[list[str]], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        evaluate_search(COLLECTION, {"stage": rankings})
    with pytest.raises(SettingsError, match="k must be"):
        evaluate_search(COLLECTION, {}, k=0)


def test_the_table_has_a_row_a_stage_and_the_record_the_versions_asked_for() -> None:
    record = record_of(evaluate_search(COLLECTION, STAGES, k=3), Qwen3Reranker("demo", device="cpu"), ["pytest"])
    assert record["study"] == "search"
    assert record["circumstances"]["packages"]["pytest"]
    (grid,) = grids_of(record)
    assert grid.title == "sets/mine: 2 queries, 8 passages"
    assert grid.header[2] == "nDCG@3 (95 %)"
    assert [row[:2] for row in grid.rows] == [("first", "4"), ("second", "2"), ("third", "1")]
    assert grid.rows[0][3] == ""
    assert grid.rows[1][3].startswith("+0.")
    assert all(len(row) == len(grid.header) for row in grid.rows)
