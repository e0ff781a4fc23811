"""Records of tables: CSV, TSV and Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.data.file_formats import DELIMITERS, cells_of
from qwen3_rerank_plugins.data.lines import LONGEST_LINE, STDIN, OpenFile, decode, shown
from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.errors import MissingExtraError, RequestError

_BATCH_ROWS = 256
"""Rows of a Parquet file that are in memory at once."""


def read_delimited(
    source: OpenFile, text_field: str, delimiters: Sequence[str] = DELIMITERS["csv"]
) -> Iterator[Record]:
    """Rows below a header, separated by the first delimiter that makes the text field a column."""
    first = next(source.lines)
    lines = itertools.chain([first], source.lines)
    header = decode(source.file, *first).text
    names = {delimiter: cells_of(header, delimiter) for delimiter in delimiters}
    fitting = [delimiter for delimiter in delimiters if text_field in names[delimiter]]
    delimiter = fitting[0] if fitting else max(delimiters, key=lambda one: len(names[one]))
    texts = (decode(source.file, number, raw).text + _line_ending(raw) for number, raw in lines)
    rows = _numbered_rows(source.file, source.number, csv.reader(texts, delimiter=delimiter, strict=True))
    _, columns = next(rows)
    columns = [column.strip() for column in columns]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise RequestError(f"{shown(source.file)} has two columns {twice!r}. Rename or remove one of them.")
    for number, cells in rows:
        location = f"{shown(source.file)} line {number}"
        if not cells:
            source.blank += 1
        elif len(cells) != len(columns):
            raise RequestError(
                f"{location} has {len(cells)} cells, and the header has {len(columns)}. Put a cell that holds the "
                'delimiter in "quotes". For a file without a header, use --format lines.'
            )
        else:
            yield Record(dict(zip(columns, cells, strict=True)), location, typed=False)
    source.report_blank()


def read_parquet(source: OpenFile, text_field: str) -> Iterator[Record]:
    """Rows of a Parquet file. A pipe is read whole, because the description of a Parquet file is at its end."""
    parquet = import_parquet()
    import pyarrow as pa

    content: Any = source.file
    if source.file == STDIN or not Path(source.file).is_file():
        content = io.BytesIO(source.read_whole("piped Parquet", "Name the file instead of piping it."))
    try:
        with parquet.ParquetFile(content) as table:
            number = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(row, f"{shown(source.file)} row {number}")
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{shown(source.file)} is no Parquet file that can be read: {error}") from error


def import_parquet() -> Any:
    """Import `pyarrow.parquet`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("pyarrow", "ray") from error
    return pyarrow.parquet


def _numbered_rows(file: str, first: int, rows: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows, each with the number of the line where it begins."""
    while True:
        number = first + rows.line_num
        try:
            with _long_cells():
                cells = next(rows, None)
        except csv.Error as error:
            raise RequestError(
                f"{shown(file)} line {number} is no row of a table: {error}. Double every quote inside a quoted cell, "
                "and close every quoted cell."
            ) from error
        if cells is None:
            return
        yield number, cells


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Raise the csv module's limit of 131,072 characters per cell, which is a global setting, for one row."""
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _line_ending(raw: bytes) -> str:
    """A line's ending, which may be inside a quoted cell."""
    return "\r\n" if raw.endswith(b"\r\n") else "\n" if raw.endswith(b"\n") else ""
