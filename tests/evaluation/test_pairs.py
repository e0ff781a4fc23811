"""Labeled pairs: two formats, one collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.pairs import read_labeled
from tests.evaluation.conftest import WriteSet


def write(folder: Path, *rows: Any) -> str:
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return str(file)


def test_pairs_of_one_query_and_instruction_are_put_together(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"query": "q", "text": "a", "label": 1},
        {"query": "r", "text": "b", "label": False},
        {"query": "q", "text": "c", "label": 0, "instruction": None},
        {"query": "q", "text": "d", "label": 2, "instruction": "i"},
    )
    found = read_labeled([file])
    assert [(task.query, task.instruction, [c.text for c in task.candidates]) for task in found.tasks] == [
        ("q", None, ["a", "c"]),
        ("r", None, ["b"]),
        ("q", "i", ["d"]),
    ]
    assert [[candidate.relevant for candidate in task.candidates] for task in found.tasks] == [
        [True, False],
        [False],
        [True],
    ]


def test_sets_are_pairs_too_and_what_nobody_labeled_is_dropped_and_counted(write_set: WriteSet) -> None:
    file = write_set("a.jsonl", ("q", [("a", 2), ("b", None)]), ("r", [("c", None)]))
    found = read_labeled([str(file)])
    assert [(task.query, [c.text for c in task.candidates]) for task in found.tasks] == [("q", ["a"])]
    assert found.unlabelled == 2


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"query": "q", "text": "a"}, r"line 1 lacks 'label'. Write each pair as"),
        ({"text": "a", "label": 1}, r"line 1 lacks 'query'"),
        ({"query": "q", "text": 1, "label": 1}, r"'text' must be a string"),
        ({"query": "q", "text": "a", "label": "yes"}, r"'label' must be true, false or a number, got 'yes'"),
        ({"query": "q", "text": "a", "label": float("nan")}, r"'label' must be"),
        ({"query": "q", "text": "a", "label": 1, "instruction": 3}, r"'instruction' must be a string"),
        (["q"], r"item 1 lacks 'query'"),
        (3, r"line 1 is not a JSON object"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_place(tmp_path: Path, row: Any, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        read_labeled([write(tmp_path, row)])


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.txt"])
def test_pairs_may_be_a_table_whose_labels_are_words_or_numbers(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('query,text,label,instruction\nq,"a\nb",1,\nq,c,false,\nr,d,0.5,Find\n', encoding="utf-8")
    found = read_labeled([str(file)])
    assert [(task.query, task.instruction) for task in found.tasks] == [("q", None), ("r", "Find")]
    assert [[(c.text, c.relevant) for c in task.candidates] for task in found.tasks] == [
        [("a\nb", True), ("c", False)],
        [("d", True)],
    ]


def test_a_cell_that_is_no_label_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("query,text,label\nq,a,1\nq,b,perhaps\n")
    with pytest.raises(RequestError, match=r"pairs.csv line 3: 'label' must be true, false or a number, got 'perhaps'"):
        read_labeled([str(tmp_path / "pairs.csv")])


def test_text_lines_are_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("one\ntwo\n")
    with pytest.raises(RequestError, match="pairs.txt line 1 is not a JSON object. Write each pair as"):
        read_labeled([str(tmp_path / "pairs.txt")])
