"""Read and write golden files: questions, the log-odds of their documents, and the provenance of these scores."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

from pydantic import StrictFloat, StrictInt

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.provenance import Provenance
from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.strict_json import StrictModel, read_json

FORMAT, VERSION = "qwen3-rerank golden scores", 1
_DESCRIPTION = "a golden file of `qwen3-rerank verify --record`"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A question and the log-odds of its documents; -inf for a blank document."""

    question: Question
    log_odds: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """Questions with their log-odds, and the provenance of these scores."""

    provenance: Provenance
    questions: tuple[RecordedQuestion, ...]


class _Document(StrictModel):
    text: str
    log_odds: StrictFloat | None


class _Question(StrictModel):
    query: str
    instruction: str | None
    documents: tuple[_Document, ...]


class _GoldenFile(StrictModel):
    format: str
    version: StrictInt
    made: Provenance
    questions: tuple[_Question, ...]


def read_recording(file: Path) -> Recording:
    """Read a golden file.

    Raises:
        RequestError: the file cannot be read, is not a golden file, has another version, or is damaged.
    """
    content = read_json(file, _DESCRIPTION)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RequestError(f"{file} is not {_DESCRIPTION}, because its format is not {FORMAT!r}.")
    version = content.get("version")
    if isinstance(version, int) and version != VERSION:
        upgrade = "Upgrade qwen3-rerank-plugins, or record" if version > VERSION else "Record"
        raise RequestError(
            f"{file} has format version {version}, and this version of qwen3-rerank-plugins reads {VERSION}. "
            f"{upgrade} the scores again."
        )
    golden = _GoldenFile.from_json(content, str(file), "Record the scores again.")
    return Recording(
        golden.made,
        tuple(
            RecordedQuestion(
                Question(
                    one.query,
                    tuple(document.text for document in one.documents),
                    one.instruction,
                    f"{file}, questions {number}",
                ),
                tuple(-math.inf if document.log_odds is None else document.log_odds for document in one.documents),
            )
            for number, one in enumerate(golden.questions, 1)
        ),
    )


def write_recording(file: Path, recording: Recording, *, overwrite: bool = False) -> None:
    """Write a golden file, completely or not at all.

    Raises:
        RequestError: the file exists and `overwrite` is false, or it cannot be written.
    """
    check_target(file, overwrite=overwrite)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="ascii") as stream:
            stream.write(_as_json(recording))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        raise RequestError(f"Cannot write {file}: {error.strerror or error}. Name another file.") from error
    finally:
        part.unlink(missing_ok=True)


def check_target(file: Path, *, overwrite: bool) -> None:
    """Check that a golden file can be written, before its scores are computed.

    Raises:
        RequestError: as `write_recording`.
    """
    if file.is_dir():
        raise RequestError(f"{file} is a folder. Name a file.")
    if not file.parent.is_dir():
        raise RequestError(f"Cannot write {file}, because there is no folder {file.parent}. Create it first.")
    if file.exists() and not overwrite:
        raise RequestError(f"{file} already exists. Compare with it by --check, or replace it with --force.")


def _as_json(recording: Recording) -> str:
    """Return the file's text, in ASCII because UTF-8 cannot encode the lone surrogates that a text may hold."""
    questions = [
        {
            "query": recorded.question.query,
            "instruction": recorded.question.instruction,
            "documents": [
                {"text": text, "log_odds": log_odds if math.isfinite(log_odds) else None}
                for text, log_odds in zip(recorded.question.documents, recorded.log_odds, strict=True)
            ],
        }
        for recorded in recording.questions
    ]
    made = dataclasses.asdict(recording.provenance)
    content = {"format": FORMAT, "version": VERSION, "made": made, "questions": questions}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
