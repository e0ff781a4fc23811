"""Recognize a file's format from its first line and its name, and refuse files that are not text in UTF-8.

The content decides if it is unambiguous. The name decides between formats that begin alike.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from pathlib import Path
from typing import Literal

from qwen3_rerank_plugins.data.lines import UTF8_BOM, shown
from qwen3_rerank_plugins.errors import RequestError

Kind = Literal["lines", "jsonl", "json", "csv", "tsv", "parquet"]
DELIMITERS = {"csv": (",", ";", "\t"), "tsv": ("\t",)}
"""Delimiters that a table may have, in the order in which they are tried."""
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}
_TABLE_SUFFIXES: dict[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
_PARQUET = b"PAR1"
_HEAD = 4096
"""Bytes of the first line in which zero bytes are counted."""
_FEW, _MANY = 0.1, 0.3
"""Limits on the share of zero bytes in even or odd positions, to detect UTF-16 without a byte order mark."""

_SAVE = "Save its text as .txt, .csv or .jsonl first."
_UNPACK = "Unpack it first. You can also pipe the unpacked file, with - in place of its name."
_SIGNATURES = {
    b"%PDF-": ("a PDF document", f"Extract its text first, for example with: pdftotext. {_SAVE}"),
    b"PK\x03\x04": ("a zip archive", _UNPACK),
    b"\xd0\xcf\x11\xe0": ("an Office document", _SAVE),
    b"{\\rtf": ("an RTF document", _SAVE),
    b"\x1f\x8b": ("compressed with gzip", "Unpack it first, with: gunzip -c FILE | qwen3-rerank ... -"),
    b"BZh91AY&SY": ("compressed with bzip2", "Unpack it first, with: bunzip2 -c FILE | qwen3-rerank ... -"),
    b"\xfd7zXZ\x00": ("compressed with xz", "Unpack it first, with: xz -dc FILE | qwen3-rerank ... -"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Unpack it first, with: zstd -dc FILE | qwen3-rerank ... -"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    b"SQLite format 3\x00": ("an SQLite database", "Export the table as CSV first."),
    b"ARROW1": ("an Arrow file", "Save the table as Parquet, CSV or JSONL."),
    b"\x93NUMPY": ("a NumPy array", "Save the texts as JSONL."),
}
"""First bytes of files that are not plain text."""
_ZIPPED = {
    ".docx": "a Word document",
    ".xlsx": "an Excel workbook",
    ".pptx": "a PowerPoint presentation",
    ".odt": "an OpenDocument text",
    ".ods": "an OpenDocument spreadsheet",
    ".epub": "an EPUB book",
}
_BOMS = {  # UTF-32 first, because its mark begins like that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)


def check_text(file: str, head: bytes) -> None:
    """Refuse a file that is not text in UTF-8.

    Args:
        file: its name, for the message.
        head: its first line that is not blank.

    Raises:
        RequestError: it is a document, an archive, in another encoding, or binary.
    """
    for signature, (what, remedy) in _SIGNATURES.items():
        if head.startswith(signature):
            zipped = _ZIPPED.get(Path(file).suffix.lower()) if what == "a zip archive" else None
            raise RequestError(f"{shown(file)} is {zipped or what}. {_SAVE if zipped else remedy}")
    head = head[:_HEAD]
    marked = next((encoding for mark, encoding in _BOMS.items() if head.startswith(mark)), None)
    if encoding := marked or _unmarked_encoding(head):
        raise RequestError(
            f"{shown(file)} is {encoding}, as its {'byte order mark says' if marked else 'zero bytes show'}, and only "
            f"UTF-8 is supported. Convert it first, with: iconv -f {encoding} -t UTF-8"
        )
    if b"\x00" in head and (head.count(0) > len(head) / 50 or not _decodes(head)):
        raise RequestError(f"{shown(file)} is a binary file, not text. Name a text file in UTF-8.")


def recognize(file: str, head: bytes, text_field: str) -> Kind:
    """Recognize a file's format.

    Args:
        file: its name.
        head: its first line that is not blank.
        text_field: name of the text column; a first line of several cells is a table's header if one of them is this.

    Raises:
        RequestError: the format is not supported.
    """
    suffix = Path(file).suffix.lower()
    if head.startswith(_PARQUET):
        return "parquet"
    check_text(file, head)
    if suffix == ".parquet":
        raise RequestError(f"{shown(file)} is no Parquet file, despite its name. Check how it was written.")
    if _MARKUP.match(head):
        raise RequestError(
            f"{shown(file)} is HTML or XML, whose tags are not text. Extract its text first, or rank its lines "
            "unchanged with --format lines."
        )
    first = head.removeprefix(UTF8_BOM).decode("utf-8", "replace").strip()
    return _kind_of_json(first, suffix) or _kind_of_table(first, suffix, text_field) or "lines"


def _kind_of_json(first: str, suffix: str) -> Kind | None:
    try:
        parsed = json.loads(first)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return "jsonl"
    named = suffix in _JSON_SUFFIXES
    if first.startswith("[") and (named or isinstance(parsed, list) or re.fullmatch(r"\[(\s*\{.*)?", first)):
        return "json"
    if suffix == ".json" and first.startswith("{"):
        return "json"  # one object over several lines
    return "jsonl" if named else None


def _kind_of_table(first: str, suffix: str, text_field: str) -> Kind | None:
    if suffix in _TABLE_SUFFIXES:
        return _TABLE_SUFFIXES[suffix]
    for delimiter in DELIMITERS["csv"]:
        cells = cells_of(first, delimiter)
        if len(cells) > 1 and text_field in cells:
            return "tsv" if delimiter == "\t" else "csv"
    return None


def cells_of(header: str, delimiter: str) -> list[str]:
    """Return the column names in the header of a table; none if it is not such a header."""
    try:
        return [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return []


def _unmarked_encoding(head: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a byte order mark: in most scripts, every second byte or two in four are zero."""

    def zeros(start: int, step: int) -> float:
        part = head[start::step]
        return part.count(0) / len(part) if part else 0.0

    quarters = [zeros(start, 4) for start in range(4)]
    if quarters[0] < _FEW and min(quarters[2:]) > 1 - _FEW:
        return "UTF-32LE"
    if quarters[3] < _FEW and min(quarters[:2]) > 1 - _FEW:
        return "UTF-32BE"
    even, odd = zeros(0, 2), zeros(1, 2)
    if even < _FEW and odd > _MANY:
        return "UTF-16LE"
    return "UTF-16BE" if odd < _FEW and even > _MANY else None


def _decodes(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
