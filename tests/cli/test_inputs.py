"""Formats: what is recognised, what is read, and what is said about everything else."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_rerank_plugins.cli.inputs import FormatName, TaskReader
from qwen3_rerank_plugins.data.readers import count_records
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask
from qwen3_rerank_plugins.errors import RequestError

SET_LINE = {
    "query_id": "q1",
    "query": "why?",
    "instruction": "Find reasons",
    "candidates": [{"doc_id": "a", "text": "because", "relevance": 2}, {"doc_id": 7, "text": "", "relevance": 0}],
}
Write = Callable[[str, str], str]


def read(
    *files: str, query: str | None = "q", format: FormatName = "auto", text_field: str = "text"
) -> list[RankingTask]:
    return list(TaskReader(format, query, text_field, lambda _: None).read(files))


def texts(tasks: list[RankingTask]) -> list[str]:
    return [candidate.text for task in tasks for candidate in task.candidates]


def test_lines_are_documents_and_blank_ones_are_counted(write: Write) -> None:
    said: list[str] = []
    file = write("notes.txt", "one\n\n  two\r\n \t\nthree")
    (task,) = TaskReader("auto", "q", "text", said.append).read([file])
    assert task == RankingTask("q", (Candidate("one"), Candidate("  two"), Candidate("three")))
    assert said == [f"skipped 2 blank lines of {file}."]


def test_only_a_line_feed_ends_a_line(write: Write) -> None:
    assert texts(read(write("notes.txt", "a\u2028b\x0cc\x85d\ne"))) == ["a\u2028b\x0cc\x85d", "e"]


def test_a_byte_order_mark_is_not_text(write: Write) -> None:
    assert texts(read(write("notes.txt", "\ufeffone\n\ufefftwo"))) == ["one", "\ufefftwo"]


def test_jsonl_is_recognised_by_its_first_line_whatever_the_file_is_called(write: Write) -> None:
    file = write("notes.txt", '\n{"text": "one", "more": 1}\n{"text": "t\\u00fco"}\n')
    assert texts(read(file)) == ["one", "tüo"]


def test_the_text_field_is_the_one_asked_for(write: Write) -> None:
    assert texts(read(write("a.jsonl", '{"text": "no", "body": "yes"}'), text_field="body")) == ["yes"]


def test_a_set_is_recognised_and_read_whole(write: Write) -> None:
    file = write("set.jsonl", json.dumps(SET_LINE) + "\n")
    (task,) = read(file, query=None)
    assert task == RankingTask(
        "why?",
        (Candidate("because", "a", relevance=2), Candidate("", 7, relevance=0)),
        "q1",
        "Find reasons",
        f"{file} line 1",
    )


def test_a_set_needs_only_queries_and_texts(write: Write) -> None:
    (task,) = read(write("set.jsonl", '{"query": "q", "candidates": [{"text": "t"}]}'), query=None)
    assert task.candidates == (Candidate("t"),)
    assert (task.query_id, task.instruction) == (None, None)


def test_sets_are_read_only_as_far_as_they_are_drawn(write: Write) -> None:
    tasks = TaskReader("auto", None, "text", lambda _: None).read([write("set.jsonl", f"{json.dumps(SET_LINE)}\nbad")])
    assert next(tasks).query == "why?"
    with pytest.raises(RequestError, match="line 2"):
        next(tasks)


def test_documents_of_all_files_are_one_task_in_the_order_of_the_files(write: Write) -> None:
    files = [write("b.txt", "one\n"), write("a.jsonl", '{"text": "two"}'), write("c.txt", "three")]
    assert len(read(*files)) == 1
    assert texts(read(*files)) == ["one", "two", "three"]


def test_stdin_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ä\n{}\n".encode())))
    assert texts(read("-")) == ["ä", "{}"]


def test_a_format_that_is_named_is_not_guessed(write: Write) -> None:
    file = write("a.jsonl", '{"text": "one"}\n')
    assert texts(read(file, format="lines")) == ['{"text": "one"}']


def test_nothing_but_blank_lines_is_a_task_without_documents_or_no_task(write: Write) -> None:
    file = write("a.jsonl", "\n\n")
    assert read(file) == [RankingTask("q", ())]
    assert read(file, query=None) == []


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("plain", {"format": "jsonl"}, r"line 1 is not a JSON object"),
        ('{"text": "a"}\nplain', {}, r"line 2 is not a JSON object"),
        ("3", {"format": "jsonl"}, r"line 1 is not a JSON object"),
        ("[" * 100_000, {"format": "jsonl"}, r"line 1 is not a JSON object"),
        ('{"body": "a", "title": "b"}', {}, r"no field 'text' \(its fields: 'body', 'title'\).*--text-field"),
        ("{}", {}, r"its fields: none\)"),
        ('{"text": null}', {}, r"'text' must be a string, got null"),
        ('{"text": 3}', {}, r"'text' must be a string, got a number"),
        ('{"candidates": []}', {"query": None}, r"lacks 'query'"),
        ('{"query": "q"}', {"query": None, "format": "sets"}, r"lacks 'candidates'"),
        ('{"query": "q", "candidates": {}}', {"query": None}, r"'candidates' must be a list, got an object"),
        ('{"query": "q", "candidates": ["a"]}', {"query": None}, r"every candidate must be an object"),
        ('{"query": "q", "candidates": [{"doc_id": "a"}]}', {"query": None}, r"lacks 'text'"),
        ('{"query": "q", "candidates": [{"text": "a", "doc_id": []}]}', {"query": None}, r"'doc_id' must be a string"),
        ('{"query": "q", "query_id": true, "candidates": []}', {"query": None}, r"'query_id' must be a string"),
        ('{"query": "q", "instruction": 1, "candidates": []}', {"query": None}, r"'instruction' must be a string"),
        ('{"query": "q", "candidates": []}', {}, r"has its query. Drop --query"),
        ("plain", {"query": None}, r"holds documents only.*--query"),
    ],
)
def test_bad_input_is_refused_with_file_and_line(
    write: Write, text: str, options: dict[str, str | None], complaint: str
) -> None:
    file = write("input.jsonl" if text[0] == "[" else "input.txt", text)
    with pytest.raises(RequestError, match=complaint) as refusal:
        read(file, **options)  # type: ignore[arg-type]
    assert file in str(refusal.value)


def test_a_missing_file_a_folder_and_other_encodings_are_refused(tmp_path: Path) -> None:
    for file, complaint in (("nowhere", "No such file"), (".", "Is a directory")):
        with pytest.raises(RequestError, match=f"Cannot read .*{complaint}"):
            read(str(tmp_path / file))
    (tmp_path / "latin").write_bytes("gut\nschön".encode("latin-1"))
    with pytest.raises(RequestError, match=r"line 2 is not UTF-8 \(byte 4\).*iconv"):
        read(str(tmp_path / "latin"))


def test_lines_are_counted_only_where_that_does_not_use_them_up(write: Write) -> None:
    assert count_records([write("a", "1\n\n2\n"), write("b", "3")]) == 3
    assert count_records([write("a", "1\n"), "-"]) is None
