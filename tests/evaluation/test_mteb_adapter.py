"""Inside mteb: its own mock tasks, offline, with the demo."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.evaluation import mteb_model
from tests.doubles import OverlapScorer

pytestmark = pytest.mark.filterwarnings("default")  # what mteb and its own libraries warn about is theirs to mend

PAIRS = [("red apple", "apple pie"), ("red apple", "red apple"), ("blue", "red"), ("red apple", "apple pie")]
"""The queries of one pair come apart, and the last pair is the first again."""


def batches(texts: list[str], **columns: list[Any]) -> list[dict[str, list[Any]]]:
    """Two batches, as a data loader yields them."""
    half = len(texts) // 2
    every = {"text": texts, **columns}
    return [{name: column[part] for name, column in every.items()} for part in (slice(half), slice(half, None))]


def task(name: str = "Task", prompt: Any = None) -> Any:
    return SimpleNamespace(name=name, prompt=prompt)


def predict(model: Any, queries: Any, of: Any = None) -> list[float]:
    documents = batches([document for _, document in PAIRS])
    found = model.predict(queries, documents, task_metadata=of or task(), hf_split="test", hf_subset="default")
    return found.tolist()


def asked(scorer: OverlapScorer) -> set[tuple[str, str]]:
    return {(request.query, request.instruction) for request in scorer.requests}


@pytest.mark.parametrize("name", ["MockRerankingTask", "MockMultilingualRerankingTask", "MockInstructionReranking"])
def test_mtebs_mock_tasks_run_offline_with_the_demo(name: str, demo: Qwen3Reranker) -> None:
    import mteb
    from mteb.mocks import mock_tasks

    mock = getattr(mock_tasks, name)()
    results = mteb.evaluate(mteb_model(demo), mock, cache=None, co2_tracker=False, show_progress_bar=False)
    (found,) = results.task_results
    assert found.task_name == name
    scores = [subset["main_score"] for subset in found.scores["test"]]
    assert len(scores) == (2 if "Multilingual" in name else 1)
    assert all(0 < score <= 1 for score in scores)
    assert results.model_name == "qwen3-rerank-plugins/demo"


def test_predictions_are_the_log_odds_of_our_own_scores_in_the_order_of_the_pairs(demo: Qwen3Reranker) -> None:
    predicted = predict(mteb_model(demo), batches([query for query, _ in PAIRS]))
    assert [probability(log_odds) for log_odds in predicted] == pytest.approx(demo.score(PAIRS), rel=1e-5)
    assert predicted[1] > predicted[0] > predicted[2]


def test_mtebs_judge_would_take_probabilities_near_one_for_ties() -> None:
    """Why log-odds are returned; once this fails, probabilities would do as well."""
    import pytrec_eval

    judge = pytrec_eval.RelevanceEvaluator({"q": {"a": 1, "b": 0}}, {"recip_rank"})
    better, worse = 24.0, 22.0
    assert probability(better) > probability(worse)
    by_probability = {"a": probability(better), "b": probability(worse)}
    assert judge.evaluate({"q": by_probability})["q"]["recip_rank"] == 0.5
    assert judge.evaluate({"q": {"a": better, "b": worse}})["q"]["recip_rank"] == 1.0


def test_an_instruction_for_the_task_goes_before_the_querys_before_mtebs_before_the_rerankers(
    scorer: OverlapScorer,
) -> None:
    reranker = Qwen3Reranker(scorer=scorer, instruction="RERANKER", top_n=1, min_score=0.9)
    queries = [query for query, _ in PAIRS]
    own = batches([f"{query} OWN" for query in queries], query=queries, instruction=["OWN", "OWN", None, "OWN"])
    cases: list[tuple[Any, Any, Any, set[tuple[str, str]]]] = [
        ({}, batches(queries), task(), {("red apple", "RERANKER"), ("blue", "RERANKER")}),
        ({}, batches(queries), task(prompt="PROMPT"), {("red apple", "PROMPT"), ("blue", "PROMPT")}),
        ({}, batches(queries), task(prompt={"query": "PROMPT"}), {("red apple", "PROMPT"), ("blue", "PROMPT")}),
        ({}, batches(queries), task(prompt={"document": "X"}), {("red apple", "RERANKER"), ("blue", "RERANKER")}),
        ({}, own, task(prompt="PROMPT"), {("red apple", "OWN"), ("blue OWN", "PROMPT")}),
        ({"Task": "GIVEN"}, own, task(prompt="PROMPT"), {("red apple", "GIVEN"), ("blue OWN", "GIVEN")}),
        ({"Other": "GIVEN"}, batches(queries), task(), {("red apple", "RERANKER"), ("blue", "RERANKER")}),
    ]
    for instructions, inputs, of, expected in cases:
        scorer.requests.clear()
        predicted = predict(mteb_model(reranker, instructions=instructions), inputs, of)
        assert len(predicted) == 4
        assert all(map(math.isfinite, predicted))
        assert asked(scorer) == expected


def test_results_are_filed_under_a_name_of_our_own_that_tells_settings_apart() -> None:
    meta = mteb_model("Qwen/Qwen3-Reranker-0.6B", revision="abc", quantization="int8").mteb_model_meta
    assert meta.name == "qwen3-rerank-plugins/Qwen3-Reranker-0.6B"
    assert meta.revision == "abc"
    assert meta.adapted_from == "Qwen/Qwen3-Reranker-0.6B"
    assert meta.experiment_kwargs == {"quantization": "int8"}
    assert mteb_model("demo").mteb_model_meta.adapted_from is None
