"""Records of text lines, JSONL and JSON arrays. Tables have their own module, as they have headers and columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from qwen3_rerank_plugins.data.lines import Line, OpenFile, decode, shown
from qwen3_rerank_plugins.errors import RequestError


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One object of a file.

    Attributes:
        fields: its fields. A text line, or a string of a JSON array, is a text in the text field.
        location: file and line, row or item.
        typed: whether numbers are numbers; in CSV and TSV everything is text.
    """

    fields: Mapping[str, Any]
    location: str
    typed: bool = True


def read_lines(source: OpenFile, text_field: str) -> Iterator[Record]:
    """One text per line."""
    return (Record({text_field: line.text}, line.location) for line in source.filled_lines())


def read_jsonl(source: OpenFile, text_field: str) -> Iterator[Record]:
    """One JSON object per line."""
    return map(parse_object, source.filled_lines())


def read_json(source: OpenFile, text_field: str) -> Iterator[Record]:
    """An array of strings or objects, or a single object that spans several lines."""
    whole = source.read_whole(
        "a JSON array", "Write it as JSONL, with one object per line: JSONL is read while it is ranked."
    )
    lines = enumerate(whole.split(b"\n"), source.number)
    text = "\n".join(decode(source.file, number, raw).text for number, raw in lines)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise RequestError(
            f"{shown(source.file)} is not valid JSON{reason}. A JSON file is an array of texts or objects. A file with "
            "one object per line is JSONL."
        ) from None
    for number, item in enumerate(found if isinstance(found, list) else [found], 1):
        location = f"{shown(source.file)} item {number}"
        if not isinstance(item, (str, dict)):
            raise RequestError(f"{location} is neither a text nor a JSON object. Write one of the two.")
        yield Record({text_field: item} if isinstance(item, str) else item, location)


def parse_object(line: Line) -> Record:
    """Parse the JSON object of a line.

    Raises:
        RequestError: the line holds something else.
    """
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{line.location} is not a JSON object. JSONL and sets have one object per line.")
    return Record(found, line.location)
