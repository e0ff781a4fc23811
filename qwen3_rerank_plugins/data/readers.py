"""A file of any kind that is read here -> its records: objects by the names of their fields, one after the other.

Text lines, JSONL, JSON arrays, CSV, TSV and Parquet become the same records. Every command reads its files here.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from qwen3_rerank_plugins.data.file_formats import DELIMITERS, Kind, cells_of, check_text, recognize
from qwen3_rerank_plugins.data.lines import (
    LONGEST_LINE,
    STDIN,
    UTF8_MARK,
    Line,
    decode,
    opened,
    raw_lines,
    read_whole,
    shown,
)
from qwen3_rerank_plugins.errors import MissingExtraError, RequestError

RAW = tuple[int, bytes]
"""A line's number in its file, and the line with its end."""
_ROWS = 256
"""Rows of a Parquet file that are in memory at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One object of a file.

    Attributes:
        fields: what it holds. A text line, or a mere string of a JSON array, is a text in the text field.
        place: where it stands.
        typed: whether numbers are numbers; in CSV and TSV everything is text.
    """

    fields: Mapping[str, Any]
    location: str
    typed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class RecordFile:
    """An open file.

    Attributes:
        kind: what kind of file it is; "lines" where there is nothing in it.
        records: its records, read as they are drawn.
    """

    kind: Kind
    records: Iterator[Record]


@contextlib.contextmanager
def open_records(
    file: str,
    kind: Kind | Literal["auto"] = "auto",
    text_field: str = "text",
    on_blank: Callable[[int], None] = lambda lines: None,
) -> Iterator[RecordFile]:
    """Open a file and find out what it is.

    Args:
        file: its name; "-" is stdin.
        kind: what it is, if the user says so.
        text_field: the field that a bare text goes into, and the column that tells the header of a table.
        on_blank: told at the end how many blank lines were skipped, if any were.

    Raises:
        RequestError: it cannot be read, or holds no texts; records raise it where they cannot be read.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    with opened(file) as stream:
        blank = 0
        for number, raw in raw_lines(file, stream):
            if raw.removeprefix(UTF8_MARK if number == 1 else b"").strip():
                break
            blank += 1
        else:
            if blank:
                on_blank(blank)
            yield RecordFile("lines", iter(()))
            return
        if kind == "auto":
            kind = recognize(file, raw, text_field)
        elif kind != "parquet":
            check_text(file, raw)
        reader = _Reader(file, stream, (number, raw), text_field, on_blank, blank)
        readers: dict[Kind, Callable[[], Iterator[Record]]] = {
            "lines": reader.lines,
            "jsonl": reader.jsonl,
            "json": reader.json,
            "csv": reader.table,
            "tsv": lambda: reader.table(DELIMITERS["tsv"]),
            "parquet": reader.parquet,
        }
        yield RecordFile(kind, readers[kind]())


def parse_object(line: Line) -> dict[str, Any]:
    """The JSON object that a line holds.

    Raises:
        RequestError: it holds something else.
    """
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{line.location} is not a JSON object. JSONL and sets hold one object on each line.")
    return found


def count_records(files: Sequence[str]) -> int | None:
    """Records in all files, for a progress bar; None where counting would use them up, or read them all."""
    if not all(Path(file).is_file() for file in files):
        return None
    count = 0
    for file in files:
        with open_records(file) as found:
            if found.kind == "parquet":
                count += _parquet().ParquetFile(file).metadata.num_rows
            elif found.kind in ("lines", "jsonl"):
                count += _count_lines(file)
            else:
                return None
    return count


@dataclasses.dataclass(slots=True)
class _Reader:
    """One pass over an open file, whose first line that is not blank was read already."""

    file: str
    stream: BinaryIO
    first: RAW
    text_field: str
    on_blank: Callable[[int], None]
    blank: int

    def lines(self) -> Iterator[Record]:
        return (Record({self.text_field: line.text}, line.location) for line in self._filled_lines())

    def jsonl(self) -> Iterator[Record]:
        return (Record(parse_object(line), line.location) for line in self._filled_lines())

    def json(self) -> Iterator[Record]:
        """An array of strings or objects, or a single object over several lines."""
        advice = "Write it as JSONL, one object on each line, which is read as it is ranked."
        whole = self.first[1] + read_whole(self.file, self.stream, "a JSON array", advice)
        text = "\n".join(
            decode(self.file, number, raw).text for number, raw in enumerate(whole.split(b"\n"), self.first[0])
        )
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            location = f": {error}" if isinstance(error, ValueError) else ""
            raise RequestError(
                f"{shown(self.file)} is not valid JSON{location}. A JSON file is an array of texts or objects; with an "
                "object on each line it is JSONL."
            ) from None
        for number, item in enumerate(found if isinstance(found, list) else [found], 1):
            location = f"{shown(self.file)} item {number}"
            if not isinstance(item, (str, dict)):
                raise RequestError(f"{location} is neither a text nor a JSON object. Write one of the two.")
            yield Record({self.text_field: item} if isinstance(item, str) else item, location)

    def table(self, delimiters: Sequence[str] = DELIMITERS["csv"]) -> Iterator[Record]:
        """Rows below a header. Of several delimiters it is the first that makes the text field a column."""
        header = decode(self.file, *self.first).text
        names = {delimiter: cells_of(header, delimiter) for delimiter in delimiters}
        splitting = max(delimiters, key=lambda delimiter: len(names[delimiter]))
        delimiter = next((one for one in delimiters if self.text_field in names[one]), splitting)
        texts = (decode(self.file, number, raw).text + _end_of(raw) for number, raw in self._raw())
        rows = _numbered_rows(self.file, self.first[0], csv.reader(texts, delimiter=delimiter, strict=True))
        _, columns = next(rows)
        columns = [column.strip() for column in columns]
        twice = next((column for column in columns if columns.count(column) > 1), None)
        if twice is not None:
            raise RequestError(f"{shown(self.file)} has two columns {twice!r}. Rename or remove one of them.")
        for number, cells in rows:
            location = f"{shown(self.file)} line {number}"
            if not cells:
                self.blank += 1
            elif len(cells) != len(columns):
                raise RequestError(
                    f"{location} has {len(cells)} cells, and the header has {len(columns)}. A cell that holds the "
                    'delimiter stands in "quotes"; for files without a header there is --format lines.'
                )
            else:
                yield Record(dict(zip(columns, cells, strict=True)), location, typed=False)
        self._tell_blank()

    def parquet(self) -> Iterator[Record]:
        parquet = _parquet()
        import pyarrow as pa

        advice = "Name the file instead of piping it."
        whole = self.file == STDIN or not Path(self.file).is_file()
        source: Any = self.file
        if whole:
            source = io.BytesIO(self.first[1] + read_whole(self.file, self.stream, "piped Parquet", advice))
        try:
            with parquet.ParquetFile(source) as table:
                number = 0
                for batch in table.iter_batches(batch_size=_ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        yield Record(row, f"{shown(self.file)} row {number}")
        except (pa.ArrowException, OSError) as error:
            raise RequestError(f"{shown(self.file)} is no Parquet file that can be read: {error}") from error

    def _raw(self) -> Iterator[RAW]:
        rest = ((number + self.first[0], raw) for number, raw in raw_lines(self.file, self.stream))
        return itertools.chain([self.first], rest)

    def _filled_lines(self) -> Iterator[Line]:
        for number, raw in self._raw():
            line = decode(self.file, number, raw)
            if line.text.strip():
                yield line
            else:
                self.blank += 1
        self._tell_blank()

    def _tell_blank(self) -> None:
        if self.blank:
            self.on_blank(self.blank)


def _numbered_rows(file: str, first: int, rows: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line where each begins."""
    while True:
        number = first + rows.line_num
        try:
            with _long_cells():
                cells = next(rows, None)
        except csv.Error as error:
            raise RequestError(
                f"{shown(file)} line {number} is no row of a table: {error}. Quotes in a quoted cell are doubled, and "
                "every quoted cell is closed."
            ) from error
        if cells is None:
            return
        yield number, cells


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module refuses cells of more than 131,072 characters unless it is told otherwise."""
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _end_of(raw: bytes) -> str:
    """A line's end, which may stand within a quoted cell."""
    return "\r\n" if raw.endswith(b"\r\n") else "\n" if raw.endswith(b"\n") else ""


def _parquet() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("pyarrow", "ray") from error
    return pyarrow.parquet


def _count_lines(file: str) -> int:
    with opened(file) as stream:
        return sum(1 for _, raw in raw_lines(file, stream) if raw.strip())


def require_objects(found: RecordFile, file: str, what: str) -> Iterable[Record]:
    """The records of a file that must not be a table of text.

    Raises:
        RequestError: CSV and TSV hold no lists.
    """
    if found.kind in ("csv", "tsv"):
        raise RequestError(
            f"{shown(file)} is {found.kind.upper()}, whose cells hold no lists, and {what} has a list of candidates. "
            "Write it as JSONL, JSON or Parquet."
        )
    return found.records
