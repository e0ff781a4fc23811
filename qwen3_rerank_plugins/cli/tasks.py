"""Lines of three formats -> what is to be ranked.

Comes in: file names, and the lines that are in them. Goes out: `RankingTask`s, one query and its candidates each.
Must not know: models, scores, tables.

Formats: text lines; JSONL with one document an object; and reranking sets, JSONL with one query and its candidates an
object. The sets' tasks are read one at a time, so that a set of any size fits in memory.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from qwen3_rerank_plugins.cli.lines import Line, read_lines, shown
from qwen3_rerank_plugins.errors import RequestError

FormatName = Literal["auto", "lines", "jsonl", "sets"]
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One document to be ranked.

    Attributes:
        text: what the model reads.
        doc_id: its name, where the format gives it one.
        relevant: whether people judged it relevant, where they did.
    """

    text: str
    doc_id: str | int | None = None
    relevant: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RankingTask:
    """One query and its candidates, in the order of the first stage.

    Attributes:
        query: what is looked for.
        candidates: where to look.
        query_id: its name, where the format gives it one.
        instruction: what relevant means, where the set says so.
        place: the file and line that it came from, where it is one line.
    """

    query: str
    candidates: tuple[Candidate, ...]
    query_id: str | int | None = None
    instruction: str | None = None
    place: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class TaskReader:
    """Reads tasks from files.

    Attributes:
        format: the format of all files; "auto" looks at the first line of each, and at its name.
        query: the query for text lines and JSONL documents; None for sets, which bring their own.
        text_field: the field of a JSONL document that holds its text.
        note: told what was skipped.
    """

    format: FormatName
    query: str | None
    text_field: str
    note: Callable[[str], None]

    def read(self, files: Sequence[str]) -> Iterator[RankingTask]:
        """One task a line of a set, or one task of all documents in all files.

        Raises:
            RequestError: something cannot be read as what it should be; the message names the file and the line.
        """
        documents: list[Candidate] = []
        for file in files:
            lines = self._filled_lines(file)
            first = next(lines, None)
            if first is None:
                continue
            found = self._detect(first)
            self._check_query(found, first.file)
            lines = itertools.chain([first], lines)
            if found == "sets":
                yield from map(_parse_task, lines)
            elif found == "jsonl":
                documents += map(self._parse_document, lines)
            else:
                documents += (Candidate(line.text) for line in lines)
        if self.query is not None:
            yield RankingTask(self.query, tuple(documents))

    def _filled_lines(self, file: str) -> Iterator[Line]:
        blank = 0
        for line in read_lines(file):
            if line.text.strip():
                yield line
            else:
                blank += 1
        if blank:
            self.note(f"skipped {blank} blank line{'s' if blank > 1 else ''} of {shown(file)}.")

    def _detect(self, line: Line) -> Literal["lines", "jsonl", "sets"]:
        if self.format != "auto":
            return self.format
        try:
            found = _parse_object(line)
        except RequestError:
            return "jsonl" if Path(line.file).suffix.lower() in _JSON_SUFFIXES else "lines"
        return "sets" if "candidates" in found else "jsonl"

    def _check_query(self, found: str, file: str) -> None:
        if found == "sets" and self.query is not None:
            raise RequestError(f"{shown(file)} is a set, and each of its lines brings its own query: drop --query.")
        if found != "sets" and self.query is None:
            raise RequestError(f"{shown(file)} holds documents only: say what to look for with --query.")

    def _parse_document(self, line: Line) -> Candidate:
        fields = _parse_object(line)
        if self.text_field not in fields:
            names = ", ".join(map(repr, list(fields)[:8])) or "none at all"
            raise RequestError(
                f"{line.place} has no field {self.text_field!r} (its fields: {names}). Name the one that holds the "
                "text with --text-field, or rank the lines as they stand with --format lines."
            )
        return Candidate(_take(fields, self.text_field, str, line))


def _parse_object(line: Line) -> dict[str, Any]:
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{line.place} is not a JSON object. JSONL and sets hold one object on each line.")
    return found


def _parse_task(line: Line) -> RankingTask:
    fields = _parse_object(line)
    candidates = _take(fields, "candidates", list, line)
    return RankingTask(
        query=_take(fields, "query", str, line),
        candidates=tuple(_parse_candidate(candidate, line) for candidate in candidates),
        query_id=_take_name(fields, "query_id", line),
        instruction=_take(fields, "instruction", str, line) if fields.get("instruction") is not None else None,
        place=line.place,
    )


def _parse_candidate(fields: object, line: Line) -> Candidate:
    if not isinstance(fields, dict):
        raise RequestError(f'{line.place}: every candidate must be an object like {{"doc_id": "a", "text": "..."}}.')
    relevance = fields.get("relevance")
    relevant = relevance > 0 if isinstance(relevance, (int, float)) else None
    return Candidate(_take(fields, "text", str, line), _take_name(fields, "doc_id", line), relevant)


_KINDS: dict[type, str] = {str: "a string", list: "a list"}


def _take(fields: dict[str, Any], name: str, kind: type, line: Line) -> Any:
    if name not in fields:
        raise RequestError(f"{line.place} lacks {name!r}. A set's line is {_SET_LINE}.")
    if not isinstance(fields[name], kind):
        raise RequestError(f"{line.place}: {name!r} must be {_KINDS[kind]}, got {_json_kind(fields[name])}.")
    return fields[name]


_SET_LINE = '{"query_id": ..., "query": ..., "instruction": optional, "candidates": [{"doc_id": ..., "text": ...}]}'


def _take_name(fields: dict[str, Any], name: str, line: Line) -> str | int | None:
    found = fields.get(name)
    if found is not None and (not isinstance(found, (str, int)) or isinstance(found, bool)):
        raise RequestError(f"{line.place}: {name!r} must be a string or a whole number, got {_json_kind(found)}.")
    return found


def _json_kind(value: object) -> str:
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")
