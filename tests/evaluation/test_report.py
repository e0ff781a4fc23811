"""Records, tables, remarks and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._records.record import as_markdown
from qwen3_rerank_plugins.evaluation import calibrate, evaluate, propose_threshold, record_of
from qwen3_rerank_plugins.evaluation.picture import draw
from qwen3_rerank_plugins.evaluation.report import grids_of, remarks_of
from tests.evaluation.conftest import WriteSet
from tests.evaluation.test_thresholds import EASY, EASY_LABELS


@pytest.fixture
def record(write_set: WriteSet, reranker: Qwen3Reranker) -> dict[str, Any]:
    better = write_set("sets/better.jsonl", *[("a b", [("c", 0), ("a b", 1)])] * 3, ("q", [("x", 0)]))
    worse = write_set("sets/worse.jsonl", ("a b", [("c", 1), ("a b", 0), *[("d", None)] * 10]))
    return record_of(evaluate(reranker, [better, worse]), reranker)


def test_a_record_is_plain_and_says_with_what_it_was_measured(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["study"] == "evaluation"
    assert {"pytrec_eval-terrier", "torch"} <= record["circumstances"]["packages"].keys()


def test_a_local_model_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my-reranker").mkdir()
    reranker = Qwen3Reranker(str(tmp_path / "my-reranker"), quantization="int8")
    record = record_of(propose_threshold(EASY, EASY_LABELS, resamples=10), reranker)
    assert record["circumstances"]["subject"] == "my-reranker, int8"
    assert str(tmp_path) not in json.dumps(record)


def test_the_tables_show_every_set_and_their_mean(record: dict[str, Any]) -> None:
    compared, spans, others = grids_of(record)
    assert compared.rows[0] == ("sets/better", "3", "0.631", "1.000", "+0.369 (+0.369, +0.369)")
    assert [row[0] for row in compared.rows] == ["sets/better", "sets/worse", "mean of 2"]
    assert spans.rows[1][:2] == ("sets/worse", "12")
    assert others.header == ("set", "MRR", "recall@10", "MAP")
    assert others.rows[0][1] == "0.500 → 1.000"
    for grid in (compared, spans, others):
        assert all(len(row) == len(grid.header) for row in grid.rows)
        assert len(as_markdown(grid).splitlines()) == len(grid.rows) + 2


def test_one_set_needs_no_mean(write_set: WriteSet, reranker: Qwen3Reranker) -> None:
    found = evaluate(reranker, [write_set("a.jsonl", ("q", [("a", 1)]))])
    assert [len(grid.rows) for grid in grids_of(record_of(found, reranker))] == [1, 1, 1]


def test_remarks_say_what_the_tables_hide_and_nothing_else(
    record: dict[str, Any], write_set: WriteSet, reranker: Qwen3Reranker
) -> None:
    assert remarks_of(record) == [
        "recall@10 is always 1 if no query has more than 10 candidates: 1 of 2 sets.",
        "Queries without a relevant candidate, which were left out: 1.",
        "Unjudged candidates, which count as not relevant: 10.",
    ]
    quiet = evaluate(reranker, [write_set("b.jsonl", ("q", [("a", 1), ("b", 0)]))], k=1)
    assert remarks_of(record_of(quiet, reranker)) == []


def test_tokens_that_were_not_read_are_remarked(write_set: WriteSet) -> None:
    file = write_set("a.jsonl", ("q", [("long " * 300, 1), ("b", 0)]))
    reranker = Qwen3Reranker("demo", device="cpu", max_length=128)
    found = evaluate(reranker, [file], k=1)
    assert found.sets[0].truncated_tokens > 100
    assert remarks_of(record_of(found, reranker)) == [
        f"Tokens that did not fit and were not read: {found.sets[0].truncated_tokens:,}."
    ]


def test_a_calibrations_threshold_is_kept_in_full(reranker: Qwen3Reranker) -> None:
    scores = [0.999991] * 20 + [0.999989] * 20
    found = propose_threshold(scores, [True] * 20 + [False] * 20, resamples=10)
    record = record_of(found, reranker)
    assert record["study"] == "calibration"
    assert 0.999989 < record["results"]["threshold"] <= 0.999991
    (grid,) = grids_of(record)
    assert grid.rows == (
        ("kept all", "40", "0.500", "1.000"),
        ("where it was chosen", "20", "1.000", "1.000"),
        ("held out", "", "1.000 (1.000-1.000)", "1.000 (1.000-1.000)"),
    )


def test_a_calibration_without_a_threshold_shows_what_keeping_all_gives(
    write_set: WriteSet, reranker: Qwen3Reranker
) -> None:
    found = calibrate(reranker, [write_set("a.jsonl", *[(f"q{n}", [("a", 1), ("b", 0)]) for n in range(12)])])
    assert found.threshold is None
    (grid,) = grids_of(record_of(found, reranker))
    assert grid.rows == (("kept all", "24", "0.500", "1.000"),)


def test_the_picture_is_drawn_of_one_set_and_of_many(record: dict[str, Any], tmp_path: Path) -> None:
    draw(record, tmp_path / "deep" / "many.png")
    draw({**record, "results": {**record["results"], "sets": record["results"]["sets"][:1]}}, tmp_path / "one.png")
    assert (tmp_path / "deep" / "many.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "one.png").stat().st_size < (tmp_path / "deep" / "many.png").stat().st_size
