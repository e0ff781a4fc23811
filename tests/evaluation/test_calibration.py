"""From files to a threshold."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation import acalibrate, calibrate, propose_threshold
from tests.bundled_data import declaration_tasks
from tests.doubles import OverlapScorer
from tests.evaluation.conftest import WriteSet

QUERIES = [(f"word{n} b", [(f"word{n} b c", 1), ("b", 0), ("c", 0)]) for n in range(12)]


def test_a_sets_candidates_are_pairs_and_the_threshold_keeps_the_relevant_ones(
    write_set: WriteSet, reranker: Qwen3Reranker
) -> None:
    found = calibrate(reranker, [write_set("a.jsonl", *QUERIES, ("u", [("v", None)]))])
    assert (found.pairs, found.relevant, found.queries, found.unlabelled) == (36, 12, 12, 1)
    assert found.threshold is not None
    assert found.chosen is not None
    assert (found.chosen.kept, found.chosen.precision, found.chosen.recall) == (12, 1.0, 1.0)
    query, candidates = QUERIES[0]
    ranked = reranker.rank(query, [text for text, _ in candidates], min_score=found.threshold)
    assert [document.index for document in ranked] == [0]


def test_the_rerankers_own_limits_hide_no_pair_and_its_instruction_is_used(
    write_set: WriteSet, scorer: OverlapScorer
) -> None:
    own = Qwen3Reranker(scorer=scorer, top_n=1, min_score=0.9, instruction="OWN")
    assert calibrate(own, [write_set("a.jsonl", *QUERIES, instruction="SET")]).pairs == 36
    assert {request.instruction for request in scorer.requests} == {"OWN"}


def test_too_few_pairs_are_refused_before_anything_is_scored(
    write_set: WriteSet, reranker: Qwen3Reranker, scorer: OverlapScorer
) -> None:
    with pytest.raises(RequestError, match="9 relevant and 18 irrelevant pairs"):
        calibrate(reranker, [write_set("a.jsonl", *QUERIES[:9])])
    assert scorer.requests == []


def test_in_a_notebook_calibrate_says_what_to_call_instead(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    file = write_set("a.jsonl", *QUERIES)

    async def notebook() -> None:
        with pytest.raises(RequestError, match=r"use `await acalibrate"):
            calibrate(reranker, [file])
        assert (await acalibrate(reranker, [file])).pairs == 36

    asyncio.run(notebook())


def test_the_demo_is_calibrated_on_its_own_scores(demo: Qwen3Reranker, tmp_path: Path) -> None:
    rows = declaration_tasks("eng", 12)
    for row in rows:
        row["candidates"] = sorted(row["candidates"], key=lambda candidate: -candidate["relevance"])[:4]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = calibrate(demo, [tmp_path / "some.jsonl"], precision=0.3)
    scores, labels, queries = [], [], []
    for query, row in enumerate(rows):
        pairs = [(row["query"], candidate["text"]) for candidate in row["candidates"]]
        scores += demo.score(pairs, instruction=row["instruction"])
        labels += [candidate["relevance"] > 0 for candidate in row["candidates"]]
        queries += [query] * len(pairs)
    again = propose_threshold(scores, labels, queries, precision=0.3)
    assert (found.threshold, found.chosen) == (again.threshold, again.chosen)
    assert found.auc.value == pytest.approx(again.auc.value)
