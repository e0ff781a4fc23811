"""Lines of three formats -> what is to be ranked.

Comes in: file names, and the lines that are in them. Goes out: `RankingTask`s, one query and its candidates each.
Must not know: models, scores, tables.

Formats: text lines; JSONL with one document an object; and reranking sets, JSONL with one query and its candidates an
object. The sets' tasks are read one at a time, so that a set of any size fits in memory.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.sets.lines import Line, read_lines, shown
from qwen3_rerank_plugins.sets.tasks import Candidate, RankingTask, parse_object, parse_task, take

FormatName = Literal["auto", "lines", "jsonl", "sets"]
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}


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
                yield from map(parse_task, lines)
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
            found = parse_object(line)
        except RequestError:
            return "jsonl" if Path(line.file).suffix.lower() in _JSON_SUFFIXES else "lines"
        return "sets" if "candidates" in found or {"query", "documents"} <= found.keys() else "jsonl"

    def _check_query(self, found: str, file: str) -> None:
        if found == "sets" and self.query is not None:
            raise RequestError(f"{shown(file)} is a set, and each of its lines brings its own query: drop --query.")
        if found != "sets" and self.query is None:
            raise RequestError(f"{shown(file)} holds documents only: say what to look for with --query.")

    def _parse_document(self, line: Line) -> Candidate:
        fields = parse_object(line)
        if self.text_field not in fields:
            names = ", ".join(map(repr, list(fields)[:8])) or "none at all"
            raise RequestError(
                f"{line.place} has no field {self.text_field!r} (its fields: {names}). Name the one that holds the "
                "text with --text-field, or rank the lines as they stand with --format lines."
            )
        return Candidate(take(fields, self.text_field, str, line.place))
