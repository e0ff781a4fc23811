"""Judged sets: what counts, what is left out, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.judged import grades, set_name, survey
from tests.evaluation.conftest import WriteSet


def test_a_survey_counts_queries_that_can_be_measured_and_those_that_cannot(write_set: WriteSet) -> None:
    file = write_set(
        "folder/a.jsonl",
        ("q", [("x", 0), ("y", 2), ("z", None)]),
        ("nothing relevant", [("x", 0)]),
        ("nothing", []),
        ("r", [("x", 1)]),
    )
    (found,) = survey([str(file)])
    assert (found.name, found.queries, found.left_out) == ("folder/a", 2, 2)
    assert (found.documents, found.fewest, found.most, found.unjudged) == (4, 1, 3, 1)
    assert [task.query for task in found.tasks()] == ["q", "r"]


def test_grades_are_kept_and_what_is_below_zero_or_unjudged_is_not_relevant(write_set: WriteSet) -> None:
    file = write_set("a.jsonl", ("q", [("x", 3), ("y", -1), ("z", None), ("t", True), ("f", 2.0)]))
    (found,) = survey([str(file)])
    assert [grades(task) for task in found.tasks()] == [(3, 0, 0, 1, 2)]


@pytest.mark.parametrize("relevance", [0.5, 1001, float("nan"), float("inf")])
def test_a_relevance_that_is_no_grade_is_refused_with_its_place(write_set: WriteSet, relevance: float) -> None:
    file = write_set("a.jsonl", ("q", [("x", 1)]), ("q", [("x", 1), ("y", relevance)]))
    with pytest.raises(RequestError, match=r"a.jsonl line 2: a relevance must be a whole number up to 1000"):
        survey([str(file)])


def test_a_set_that_nobody_judged_and_no_set_at_all_are_refused(write_set: WriteSet) -> None:
    with pytest.raises(RequestError, match="no query with a relevant candidate"):
        survey([str(write_set("a.jsonl", ("q", [("x", None)])))])
    with pytest.raises(RequestError, match="Name at least one judged set"):
        survey([])
    with pytest.raises(RequestError, match="Name a file, not stdin"):
        survey(["-"])


def test_a_bad_line_at_the_end_of_the_last_set_shows_before_anything_is_ranked(write_set: WriteSet) -> None:
    good, bad = write_set("a.jsonl", ("q", [("x", 1)])), write_set("b.jsonl", ("q", [("x", 1)]))
    bad.write_text(bad.read_text() + "\n" + json.dumps({"query": "q"}) + "\n")
    with pytest.raises(RequestError, match=r"b.jsonl line 3 lacks 'candidates'"):
        survey([str(good), str(bad)])


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.jsonl", "a"), ("sets/a.jsonl", "sets/a"), ("/home/me/sets/a.b.jsonl", "sets/a.b"), ("/a", "a")],
)
def test_a_set_is_called_by_its_last_folder_and_its_name(file: str, name: str) -> None:
    assert set_name(str(Path(file))) == name


def test_a_set_may_be_a_json_array_or_parquet_and_a_table_of_text_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"query": "q", "candidates": [{"text": "x", "relevance": 1}, {"text": "y", "relevance": 0}]}]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [
        (found.queries, found.documents) for found in survey([str(tmp_path / "a.json"), str(tmp_path / "a.parquet")])
    ] == [
        (1, 2),
        (1, 2),
    ]
    (tmp_path / "a.csv").write_text("query,text\nq,x\n")
    with pytest.raises(RequestError, match="a.csv is CSV, whose cells hold no lists, and a judged set has"):
        survey([str(tmp_path / "a.csv")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_that_could_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="Name a file, not .*pipe"):
        survey([str(tmp_path / "pipe")])
