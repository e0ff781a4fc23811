"""Reading input files: one task of all documents, or one task per query of a set.

Tasks of sets are read one at a time, so a set of any size fits in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.data.limits import Limit
from qwen3_rerank_plugins.data.lines import shown
from qwen3_rerank_plugins.data.readers import RecordFile, open_records, require_objects
from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask, parse_task, take
from qwen3_rerank_plugins.errors import RequestError

FormatName = Literal["auto", "lines", "jsonl", "json", "csv", "tsv", "parquet", "sets"]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskReader:
    """Reads tasks from files.

    Attributes:
        format: format of all files; "auto" detects it from the first line and the name of each. "sets" are records of
            any kind except text lines, each a query with its candidates.
        query: query for documents; None for sets, because they contain queries.
        text_field: field or column that holds a document's text.
        note: called with a message about skipped lines.
    """

    format: FormatName
    query: str | None
    text_field: str
    note: Callable[[str], None]

    def read(self, files: Sequence[str]) -> Iterator[RankingTask]:
        """Yield one task per record of a set, or one task of all documents in all files.

        Raises:
            RequestError: a file cannot be read in its format; the message names the file and the location in it.
        """
        documents: list[Candidate] = []
        limit = Limit("The documents of one query", "Rank the best of a first stage, or split the input.")
        for file in files:
            with self._open(file) as found:
                first = next(found.records, None)
                if first is None:
                    continue
                is_set = self._is_set(first)
                self._check_query(is_set, file)
                records = itertools.chain([first], found.records)
                if is_set:
                    yield from map(parse_task, require_objects(RecordFile(found.kind, records), file, "a set"))
                else:
                    documents += _counting(map(self._document, records), limit)
        if self.query is not None:
            yield RankingTask(self.query, tuple(documents))

    def _open(self, file: str) -> contextlib.AbstractContextManager[RecordFile]:
        def tell(blank: int) -> None:
            self.note(f"skipped {counted(blank, 'blank line')} of {shown(file)}.")

        return open_records(file, "auto" if self.format == "sets" else self.format, self.text_field, tell)

    def _is_set(self, first: Record) -> bool:
        if self.format != "auto":
            return self.format == "sets"
        fields = first.fields
        return first.typed and ("candidates" in fields or {"query", "documents"} <= fields.keys())

    def _check_query(self, is_set: bool, file: str) -> None:
        if is_set and self.query is not None:
            raise RequestError(f"{shown(file)} is a set, and each of its lines has its query. Drop --query.")
        if not is_set and self.query is None:
            raise RequestError(f"{shown(file)} holds documents only. Give the query with --query.")

    def _document(self, record: Record) -> Candidate:
        fields = record.fields
        if self.text_field not in fields:
            names = ", ".join(map(repr, list(fields)[:8])) or "none"
            kind, plural = ("field", "fields") if record.typed else ("column", "columns")
            raise RequestError(
                f"{record.location} has no {kind} {self.text_field!r} (its {plural}: {names}). Name the one that "
                "holds the text with --text-field, or rank whole lines with --format lines."
            )
        return Candidate(take(fields, self.text_field, str, record.location))


def _counting(documents: Iterable[Candidate], limit: Limit) -> Iterator[Candidate]:
    for document in documents:
        limit.count([document])
        yield document
