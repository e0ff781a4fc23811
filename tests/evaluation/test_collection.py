"""A set as one collection: everything pooled, nothing lost, nothing mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation import bundled_collection, read_collection


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "sets" / "mine.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def candidate(name: str, text: str, relevance: int | None = 0) -> dict[str, Any]:
    return {"doc_id": name, "text": text} | ({} if relevance is None else {"relevance": relevance})


def test_all_candidates_are_pooled_and_judgements_stay_with_their_query(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"query_id": 7, "query": "red?", "candidates": [candidate("a", "red", 2), candidate("b", "blue", None)]},
        {"query": "blue?", "instruction": "Find", "candidates": [candidate("b", "blue", 1), candidate("a", "red")]},
        {"query": "green?", "candidates": [candidate("c", "green", None)]},
    )
    found = read_collection(file)
    assert found.name == "sets/mine"
    assert found.passages == {"a": "red", "b": "blue", "c": "green"}
    assert [(query.query_id, query.text, query.relevant) for query in found.queries] == [
        ("7", "red?", {"a": 2}),
        ("line-2", "blue?", {"b": 1}),
    ]
    assert found.instruction_for("blue?") == "Find"
    assert found.instruction_for("red?") is found.instruction_for("anything") is None


def test_a_passage_without_a_name_is_known_by_its_text(tmp_path: Path) -> None:
    rows = [{"query": query, "candidates": [{"text": "red", "relevance": 1}]} for query in "ab"]
    found = read_collection(write(tmp_path, *rows))
    ((name, text),) = found.passages.items()
    assert text == "red"
    assert [query.relevant for query in found.queries] == [{name: 1}, {name: 1}]


def test_fewer_queries_leave_all_passages(tmp_path: Path) -> None:
    rows = [{"query": name, "candidates": [candidate(name, name, 1)]} for name in "abc"]
    found = read_collection(write(tmp_path, *rows))
    assert len(found.first(2).queries) == 2
    assert found.first(2).passages == found.passages
    assert found.first(None) == found
    for none in (0, -1):
        with pytest.raises(SettingsError, match="queries must be"):
            found.first(none)


def test_the_fingerprint_is_of_the_passages_alone(tmp_path: Path) -> None:
    def of(*candidates: dict[str, Any], query: str = "q") -> str:
        return read_collection(write(tmp_path, {"query": query, "candidates": list(candidates)})).fingerprint

    a, b = candidate("a", "red", 1), candidate("b", "blue")
    assert of(a, b) == of(b, a) == of(a, b, query="other")
    assert len({of(a, b), of(a), of(a, candidate("b", "blue!")), of(a, candidate("c", "blue"))}) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "a", "candidates": [candidate("a", "red", 1), candidate("a", "blue")]}], "'a' has another text"),
        ([{"query_id": "x", "query": q, "candidates": [candidate("a", "red", 1)]} for q in "ab"], "'x' occurs twice"),
        ([{"query": "a", "candidates": [candidate("a", "red")]}], "no query with a relevant candidate"),
    ],
    ids=["two texts", "two queries", "nothing relevant"],
)
def test_what_would_be_mixed_up_is_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_collection(write(tmp_path, *rows))


def test_the_bundled_collection_has_one_answer_to_every_question() -> None:
    found = bundled_collection()
    assert len(found.passages) == 24
    assert [list(query.relevant.values()) for query in found.queries] == [[1]] * 5
    assert all(set(query.relevant) <= set(found.passages) for query in found.queries)
