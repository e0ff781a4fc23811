"""The golden file: whole, strict, never overwritten by accident."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.provenance import Provenance
from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.recording import (
    VERSION,
    RecordedQuestion,
    Recording,
    check_target,
    read_recording,
    write_recording,
)

MADE = Provenance("demo", None, "0123456789ab", "float32", "cpu", "sdpa", None, 8192, "0.1.0", "2", "5", "0.22")
ONE = Recording(MADE, (RecordedQuestion(Question("q", ("a", " "), "Find it"), (0.1 + 0.2, -math.inf)),))

texts = st.text(st.characters(codec=None), max_size=8)
answered = st.lists(st.tuples(texts, st.floats(allow_nan=False, allow_infinity=False) | st.just(-math.inf)), max_size=4)


@given(st.lists(st.tuples(texts, st.none() | texts, answered), max_size=3))
def test_what_was_written_is_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, questions: list[tuple[str, str | None, list[tuple[str, float]]]]
) -> None:
    recording = Recording(
        MADE,
        tuple(
            RecordedQuestion(Question(query, tuple(text for text, _ in rows), instruction), tuple(x for _, x in rows))
            for query, instruction, rows in questions
        ),
    )
    file = tmp_path_factory.mktemp("golden") / "golden.json"
    write_recording(file, recording)
    assert read_recording(file) == recording
    assert file.read_bytes().isascii()


def test_a_question_knows_where_in_the_file_it_stood(tmp_path: Path) -> None:
    write_recording(tmp_path / "g", ONE)
    assert read_recording(tmp_path / "g").questions[0].question.location == f"{tmp_path / 'g'}, questions 1"


def test_a_file_that_is_there_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    file.write_text("precious", encoding="utf-8")
    with pytest.raises(RequestError, match=r"golden\.json already exists\. .*--check.*--force"):
        write_recording(file, ONE)
    assert file.read_text(encoding="utf-8") == "precious"
    write_recording(file, ONE, overwrite=True)
    assert read_recording(file) == ONE


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "golden.json"
    file.write_text("precious", encoding="utf-8")
    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), fail)
    with pytest.raises(RequestError, match="Cannot write .*: No space left on device"):
        write_recording(file, ONE, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["golden.json"]
    assert file.read_text(encoding="utf-8") == "precious"


def test_an_impossible_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is a folder\. Name a file"):
        check_target(tmp_path, overwrite=True)
    with pytest.raises(RequestError, match=r"there is no folder .*nowhere"):
        check_target(tmp_path / "nowhere" / "golden.json", overwrite=True)


def damaged(change: Any) -> str:
    """The file's text after a change of its content."""
    content = {
        "format": "qwen3-rerank golden scores",
        "version": VERSION,
        "made": {field: getattr(MADE, field) for field in MADE.__slots__},
        "questions": [{"query": "q", "instruction": None, "documents": [{"text": "a", "log_odds": 1.5}]}],
    }
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not a golden file .*not valid JSON"),
        ("[]", "is not a golden file of `qwen3-rerank verify --record`, because its format is not"),
        ('{"cases": []}', "its format is not 'qwen3-rerank golden scores'"),
        (damaged(lambda it: it.update(format="qwen3-rerank published scores")), "its format is not"),
        (
            damaged(lambda it: it.update(version=VERSION + 1)),
            f"has format version {VERSION + 1}, .* Upgrade",
        ),
        (damaged(lambda it: it.update(version=0)), "has format version 0, .*. Record the scores again"),
        (damaged(lambda it: it.update(version="1")), "version must be a valid integer"),
        (damaged(lambda it: it.update(extra=1)), "golden.json, extra is not a field of this format. Record"),
        (damaged(lambda it: it.pop("made")), "golden.json, made is missing"),
        (damaged(lambda it: it["made"].pop("torch")), "made, torch is missing"),
        (damaged(lambda it: it["made"].update(max_length="1")), "made, max_length must be a valid integer"),
        (damaged(lambda it: it["made"].update(model=None)), "made, model must be a valid string"),
        (damaged(lambda it: it.update(made=[])), "golden.json, made must be an object"),
        (damaged(lambda it: it["made"].update(extra=1)), "made, extra is not a field"),
        (damaged(lambda it: it["questions"][0].update(extra=1)), "questions 1, extra is not a field"),
        (damaged(lambda it: it["questions"][0].pop("instruction")), "questions 1, instruction is missing"),
        (
            damaged(lambda it: it["questions"][0]["documents"].append({"text": "b"})),
            "documents 2, log_odds is missing",
        ),
        (
            damaged(lambda it: it["questions"][0]["documents"][0].update(log_odds="1")),
            ", log_odds must be a valid number",
        ),
        (
            damaged(lambda it: it["questions"][0]["documents"][0].update(text=None)),
            ", text must be a valid string",
        ),
    ],
)
def test_a_damaged_foreign_or_newer_file_is_refused_with_what_is_wrong(
    text: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "golden.json").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=complaint):
        read_recording(tmp_path / "golden.json")


def test_the_file_that_the_damaged_ones_are_made_of_is_sound(tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(damaged(lambda it: None), encoding="utf-8")
    assert read_recording(tmp_path / "golden.json").questions[0].log_odds == (1.5,)
