"""The name and the first line of a file -> what kind of file it is, or a refusal that says what it is instead.

The content decides where it is clear; the name decides between kinds that begin alike.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from pathlib import Path
from typing import Literal

from qwen3_rerank_plugins.data.lines import UTF8_MARK, shown
from qwen3_rerank_plugins.errors import RequestError

Kind = Literal["lines", "jsonl", "json", "csv", "tsv", "parquet"]
DELIMITERS = {"csv": (",", ";", "\t"), "tsv": ("\t",)}
"""Those that a table may have, likeliest first."""
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}
_TABLE_SUFFIXES: dict[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
_PARQUET = b"PAR1"
_HEAD = 4096
_FEW, _MANY = 0.1, 0.3
"""Shares of zero bytes among those that begin a character, or end it, in UTF-16 without a mark."""

_SAVE = "Save its text as .txt, .csv or .jsonl first."
_UNPACK = "Unpack it first; what an archive holds can be piped, too, with - in place of the file."
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
"""How files begin that hold no texts as they stand."""
_ZIPPED = {
    ".docx": "a Word document",
    ".xlsx": "an Excel workbook",
    ".pptx": "a PowerPoint presentation",
    ".odt": "an OpenDocument text",
    ".ods": "an OpenDocument spreadsheet",
    ".epub": "an EPUB book",
}
_MARKS = {  # the longer ones first: UTF-32 begins like UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)


def check_text(file: str, head: bytes) -> None:
    """Refuse what is not text in UTF-8, by what it is.

    Args:
        file: its name, for the message.
        head: its first line that is not blank.

    Raises:
        RequestError: it is a document, an archive, another encoding, or binary.
    """
    for signature, (what, remedy) in _SIGNATURES.items():
        if head.startswith(signature):
            zipped = _ZIPPED.get(Path(file).suffix.lower()) if what == "a zip archive" else None
            raise RequestError(f"{shown(file)} is {zipped or what}. {_SAVE if zipped else remedy}")
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            raise _other_encoding(file, encoding, "as its byte order mark says")
    head = head[:_HEAD]
    if b"\x00" not in head:
        return
    if unmarked := _encoding_of(head):
        raise _other_encoding(file, unmarked, "as the zero bytes between its characters show")
    if head.count(0) > len(head) / 50 or not _decodes(head):
        raise RequestError(f"{shown(file)} is a binary file, not text. Name a file of texts in UTF-8.")


def recognize(file: str, head: bytes, text_field: str) -> Kind:
    """What kind of file begins like this.

    Args:
        file: its name.
        head: its first line that is not blank.
        text_field: a first line with several cells, of which one is this, is the header of a table.

    Raises:
        RequestError: it is of a kind that is not read.
    """
    suffix = Path(file).suffix.lower()
    if head.startswith(_PARQUET):
        return "parquet"
    check_text(file, head)
    if suffix == ".parquet":
        raise RequestError(f"{shown(file)} is no Parquet file, whatever its name says. Check how it was written.")
    if _MARKUP.match(head):
        raise RequestError(
            f"{shown(file)} is HTML or XML, whose tags are no text. Extract its text first, or rank its lines as they "
            "stand with --format lines."
        )
    first = head.removeprefix(UTF8_MARK).decode("utf-8", "replace").strip()
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
    """The names in the header of a table; none where it is no such header."""
    try:
        return [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return []


def _encoding_of(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: in most scripts every second byte is zero, or two of four."""

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


def _other_encoding(file: str, encoding: str, reason: str) -> RequestError:
    return RequestError(
        f"{shown(file)} is {encoding}, {reason}, and only UTF-8 is read. Convert it first, with: "
        f"iconv -f {encoding} -t UTF-8"
    )
