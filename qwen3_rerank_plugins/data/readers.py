"""Open a file of any supported format as records. All commands read their files through this module."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from qwen3_rerank_plugins.data.file_formats import DELIMITERS, Kind, check_text, recognize
from qwen3_rerank_plugins.data.lines import UTF8_BOM, OpenFile, opened, raw_lines, shown
from qwen3_rerank_plugins.data.records import Record, read_json, read_jsonl, read_lines
from qwen3_rerank_plugins.data.tables import import_parquet, read_delimited, read_parquet
from qwen3_rerank_plugins.errors import RequestError

_READERS: dict[Kind, Callable[[OpenFile, str], Iterator[Record]]] = {
    "lines": read_lines,
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_delimited,
    "tsv": functools.partial(read_delimited, delimiters=DELIMITERS["tsv"]),
    "parquet": read_parquet,
}


@dataclasses.dataclass(frozen=True, slots=True)
class RecordFile:
    """An open file.

    Attributes:
        kind: its format; "lines" if it is empty.
        records: its records, which are read when they are needed.
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
    """Open a file and recognize its format.

    Args:
        file: its name; "-" is stdin.
        kind: its format, if the user names it.
        text_field: the field for a bare text, and the column that identifies the header of a table.
        on_blank: called at the end with the number of skipped blank lines, if there are any.

    Raises:
        RequestError: the file cannot be read, or holds no texts. Iterating over the records raises it, too.
        MissingExtraError: the file is Parquet, and pyarrow is not installed.
    """
    with opened(file) as stream:
        lines = raw_lines(file, stream)
        number, raw = 0, b""
        for number, raw in lines:
            if raw.removeprefix(UTF8_BOM if number == 1 else b"").strip():
                break
        else:
            if number:
                on_blank(number)
            yield RecordFile("lines", iter(()))
            return
        if kind == "auto":
            kind = recognize(file, raw, text_field)
        elif kind != "parquet":
            check_text(file, raw)
        source = OpenFile(file, stream, number, itertools.chain([(number, raw)], lines), number - 1, on_blank)
        yield RecordFile(kind, _READERS[kind](source, text_field))


def count_records(files: Sequence[str]) -> int | None:
    """Count the records of all files for a progress bar; None if counting would consume or fully parse a file."""
    if not all(Path(file).is_file() for file in files):
        return None
    count = 0
    for file in files:
        with open_records(file) as found:
            kind = found.kind
        if kind == "parquet":
            count += import_parquet().ParquetFile(file).metadata.num_rows
        elif kind in ("lines", "jsonl"):
            with opened(file) as stream:
                count += sum(1 for _, raw in raw_lines(file, stream) if raw.strip())
        else:
            return None
    return count


def require_objects(found: RecordFile, file: str, what: str) -> Iterable[Record]:
    """Return the records of a file that must not be a table of text.

    Raises:
        RequestError: it is CSV or TSV, whose cells hold no lists.
    """
    if found.kind in ("csv", "tsv"):
        raise RequestError(
            f"{shown(file)} is {found.kind.upper()}, whose cells hold no lists, and {what} has a list of candidates. "
            "Write it as JSONL, JSON or Parquet."
        )
    return found.records
