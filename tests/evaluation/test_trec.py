"""Runs and judgements in the formats of TREC, read again by the tools that they are for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation import Collection, write_qrels, write_run
from qwen3_rerank_plugins.evaluation.collection import JudgedQuery

COLLECTION = Collection(
    "set",
    {name: name for name in ("a", "b", "c", "größe")},
    (JudgedQuery("q1", "one", {"a": 1, "größe": 3}), JudgedQuery("q%20", "two", {"b": 1})),
    {},
)
RANKINGS = [["c", "größe", "a"], ["b"]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    run, qrels = tmp_path / "runs" / "run.trec", tmp_path / "runs" / "qrels.trec"
    write_run(run, COLLECTION, RANKINGS, "the first stage")
    write_qrels(qrels, COLLECTION)
    return run, qrels


def test_a_line_is_what_the_format_says(files: tuple[Path, Path]) -> None:
    run, qrels = files
    assert run.read_text(encoding="utf-8").splitlines() == [
        "q1 Q0 c 1 2 the-first-stage",
        "q1 Q0 größe 2 1 the-first-stage",
        "q1 Q0 a 3 0 the-first-stage",
        "q%20 Q0 b 1 0 the-first-stage",
    ]
    assert qrels.read_text(encoding="utf-8").splitlines() == ["q1 0 a 1", "q1 0 größe 3", "q%20 0 b 1"]


def test_trec_eval_reads_both(files: tuple[Path, Path]) -> None:
    run, qrels = (file.open(encoding="utf-8") for file in files)
    with run, qrels:
        judged, ranked = pytrec_eval.parse_qrel(qrels), pytrec_eval.parse_run(run)
    assert judged == {query.query_id: dict(query.relevant) for query in COLLECTION.queries}
    found = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(ranked)
    assert {query: measured["recip_rank"] for query, measured in found.items()} == {"q1": 0.5, "q%20": 1.0}


def test_ir_measures_reads_both(files: tuple[Path, Path]) -> None:
    ir_measures: Any = pytest.importorskip("ir_measures", reason="ir_measures is not installed")
    run, qrels = map(str, files)
    found = ir_measures.calc_aggregate(
        [ir_measures.RR], ir_measures.read_trec_qrels(qrels), ir_measures.read_trec_run(run)
    )
    assert found[ir_measures.RR] == 0.75


@pytest.mark.filterwarnings("ignore")  # of its own compiler
def test_ranx_reads_both(files: tuple[Path, Path]) -> None:
    pytest.importorskip("ranx", reason="ranx is not installed")
    ranx: Any = importlib.import_module("ranx")
    run, qrels = map(str, files)
    found = ranx.evaluate(ranx.Qrels.from_file(qrels, kind="trec"), ranx.Run.from_file(run, kind="trec"), "mrr")
    assert found == 0.75


@pytest.mark.parametrize("name", ["two words", "", " ", "tab\there", "no\u00a0break", "line\nbreak", "\ud800"])
def test_a_name_that_would_be_read_as_another_is_refused_by_name_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    passage = Collection("set", {name: "text"}, (JudgedQuery("q", "one", {name: 1}),), {})
    query = Collection("set", {"a": "text"}, (JudgedQuery(name, "one", {"a": 1}),), {})
    for collection, ranking, what in ((passage, [name], "passage"), (query, ["a"], "query")):
        with pytest.raises(RequestError, match=f"of a {what} is empty, or contains whitespace"):
            write_run(tmp_path / "run", collection, [ranking], "run")
        with pytest.raises(RequestError, match=f"of a {what} is empty, or contains whitespace"):
            write_qrels(tmp_path / "qrels", collection)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_name_or_with_a_ranking_too_few_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="A run needs a name"):
        write_run(tmp_path / "run", COLLECTION, RANKINGS, " ")
    with pytest.raises(RequestError, match="1 ranking for 2 queries"):
        write_run(tmp_path / "run", COLLECTION, RANKINGS[:1], "run")
