"""Files -> lines that know where they stood.

Comes in: file names. Goes out: `Line`s.
Must not know: formats.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from qwen3_rerank_plugins.errors import RequestError

STDIN = "-"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, without its end; lines are numbered from 1."""

    file: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """Where to look for it."""
        return f"{shown(self.file)} line {self.number}"


def count_lines(files: Sequence[str]) -> int | None:
    """Lines in all files, for a progress bar; None where counting would use them up."""
    if not all(Path(file).is_file() for file in files):
        return None
    lines = 0
    for file in files:
        with Path(file).open("rb") as stream:
            lines += sum(1 for line in stream if line.strip())
    return lines


def read_lines(file: str) -> Iterator[Line]:
    """Lines end at a line feed only: texts may hold any other separator of Unicode."""
    try:
        if file == STDIN:
            yield from _lines(file, sys.stdin.buffer)
        else:
            with Path(file).open("rb") as stream:
                yield from _lines(file, stream)
    except OSError as error:
        raise RequestError(
            f"Cannot read {file}: {error.strerror or error}. Name files of text lines or JSONL, or - for stdin."
        ) from error


def decode(file: str, number: int, raw: bytes) -> Line:
    """A line as it stands in the file.

    Raises:
        RequestError: it is not UTF-8.
    """
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{shown(file)} line {number} is not UTF-8 (byte {error.start + 1}). Convert it first, for example with: "
            "iconv -f LATIN1 -t UTF-8"
        ) from error
    return Line(file, number, text.rstrip("\r\n"))


def _lines(file: str, stream: BinaryIO) -> Iterator[Line]:
    for number, raw in enumerate(stream, 1):
        yield decode(file, number, raw)


def shown(file: str) -> str:
    """A file's name in a message."""
    return "stdin" if file == STDIN else file
