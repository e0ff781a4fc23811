"""A golden file: questions, the log-odds they got, and what made them.

Comes in: a file or a `Recording`. Goes out: the other of the two.
Must not know: models, or how scores are compared.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.json_fields import Fields, read_json
from qwen3_rerank_plugins.verify.provenance import Provenance
from qwen3_rerank_plugins.verify.questions import Question

FORMAT, VERSION = "qwen3-rerank golden scores", 1
_WHAT = "a golden file of `qwen3-rerank verify --record`"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A question and the log-odds of its documents; -inf for a document with nothing to read."""

    question: Question
    log_odds: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """Questions as they were once answered, and what made the answers."""

    made: Provenance
    questions: tuple[RecordedQuestion, ...]


def read_recording(file: Path) -> Recording:
    """Read a golden file.

    Raises:
        RequestError: it cannot be read, is something else, comes from a newer version, or is damaged.
    """
    content = read_json(file, _WHAT)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RequestError(f"{file} is not {_WHAT}: it does not say {FORMAT!r}.")
    fields = Fields(content, str(file))
    fields.text("format")
    version = fields.whole_number("version")
    if version > VERSION:
        raise RequestError(
            f"{file} has format {version}, and this version of qwen3-rerank-plugins reads {VERSION}: upgrade it, or "
            "record the scores again."
        )
    if version != VERSION:
        raise RequestError(f"{file} has format {version}, which never was one. Record the scores again.")
    recording = Recording(
        made=_read_making(fields.section("made")),
        questions=tuple(_read_question(question) for question in fields.rows("questions")),
    )
    fields.end()
    return recording


def write_recording(file: Path, recording: Recording, *, overwrite: bool = False) -> None:
    """Write a golden file, whole or not at all.

    Raises:
        RequestError: the file is there already and `overwrite` is false, or it cannot be written.
    """
    check_place(file, overwrite=overwrite)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="ascii") as stream:
            stream.write(_as_json(recording))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        raise RequestError(f"Cannot write {file}: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def check_place(file: Path, *, overwrite: bool) -> None:
    """Refuse a place where nothing may be written, before the scores that would go there are made.

    Raises:
        RequestError: as `write_recording`.
    """
    if file.is_dir():
        raise RequestError(f"{file} is a folder: name a file.")
    if not file.parent.is_dir():
        raise RequestError(f"Cannot write {file}: there is no folder {file.parent}.")
    if file.exists() and not overwrite:
        raise RequestError(f"{file} is there already. Compare with it by --check, or replace it with --force.")


def _as_json(recording: Recording) -> str:
    """In ASCII: a lone surrogate in a text has no UTF-8."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "made": dataclasses.asdict(recording.made),
        "questions": [_as_object(recorded) for recorded in recording.questions],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _as_object(recorded: RecordedQuestion) -> dict[str, Any]:
    question = recorded.question
    documents = [
        {"text": text, "log_odds": log_odds if math.isfinite(log_odds) else None}
        for text, log_odds in zip(question.documents, recorded.log_odds, strict=True)
    ]
    return {"query": question.query, "instruction": question.instruction, "documents": documents}


def _read_making(fields: Fields) -> Provenance:
    made = Provenance(
        model=fields.text("model"),
        commit=fields.text_or_none("commit"),
        template=fields.text("template"),
        dtype=fields.text("dtype"),
        device=fields.text("device"),
        attention=fields.text("attention"),
        quantization=fields.text_or_none("quantization"),
        max_length=fields.whole_number("max_length"),
        package=fields.text("package"),
        torch=fields.text("torch"),
        transformers=fields.text("transformers"),
        tokenizers=fields.text("tokenizers"),
    )
    fields.end()
    return made


def _read_question(fields: Fields) -> RecordedQuestion:
    query, instruction = fields.text("query"), fields.text_or_none("instruction")
    texts, log_odds = [], []
    for document in fields.rows("documents"):
        texts.append(document.text("text"))
        found = document.number_or_none("log_odds")
        log_odds.append(-math.inf if found is None else found)
        document.end()
    fields.end()
    return RecordedQuestion(Question(query, tuple(texts), instruction, fields.location), tuple(log_odds))
