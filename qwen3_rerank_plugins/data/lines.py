"""Read files and stdin as numbered lines. Limits on lines and whole files turn endless input into an error."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from qwen3_rerank_plugins.errors import RequestError

STDIN = "-"
LONGEST_LINE = 64 * 2**20
"""Bytes. A longer line is assumed to be endless, such as that of /dev/zero."""
MOST_AT_ONCE = 256 * 2**20
"""Bytes of a file that has to be read whole: a JSON array, or Parquet from stdin."""
UTF8_BOM = b"\xef\xbb\xbf"
NumberedLine = tuple[int, bytes]
"""A line's number in its file, from 1, and the line with its line ending."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, without its line ending; lines are numbered from 1."""

    file: str
    number: int
    text: str

    @property
    def location(self) -> str:
        """The file and the line number, for messages."""
        return f"{shown(self.file)} line {self.number}"


@dataclasses.dataclass(slots=True)
class OpenFile:
    """An open file that has been read up to its first line that is not blank.

    Attributes:
        file: its name.
        stream: the bytes after the first line.
        number: number of the first line that is not blank.
        lines: that line and all lines after it.
        blank: number of blank lines so far.
        on_blank: called with the number of blank lines at the end of the file, if there are any.
    """

    file: str
    stream: BinaryIO
    number: int
    lines: Iterator[NumberedLine]
    blank: int
    on_blank: Callable[[int], None]

    def filled_lines(self) -> Iterator[Line]:
        """Lines that are not blank; the others are counted and reported at the end."""
        for number, raw in self.lines:
            line = decode(self.file, number, raw)
            if line.text.strip():
                yield line
            else:
                self.blank += 1
        self.report_blank()

    def report_blank(self) -> None:
        """Report blank lines, if there are any."""
        if self.blank:
            self.on_blank(self.blank)

    def read_whole(self, kind: str, advice: str) -> bytes:
        """Read everything from the first line on.

        Args:
            kind: what is read, for the error message.
            advice: remedy for a file that is too large.

        Raises:
            RequestError: reading fails, or more than `MOST_AT_ONCE` bytes follow the first line.
        """
        _, first = next(self.lines)
        rest = _read(self.file, self.stream.read, MOST_AT_ONCE + 1)
        if len(rest) > MOST_AT_ONCE:
            raise RequestError(
                f"{shown(self.file)} is larger than the {MOST_AT_ONCE // 2**20} MiB that {kind} may have. {advice}"
            )
        return first + rest


@contextlib.contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """Open a file. "-" is stdin, which stays open afterwards.

    Raises:
        RequestError: the file cannot be opened.
    """
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  # closed below; the caller's body may raise other OSErrors
    except OSError as error:
        raise _unreadable(file, error) from error
    with stream:
        yield stream


def raw_lines(file: str, stream: BinaryIO) -> Iterator[NumberedLine]:
    """Numbered lines with their line endings. Only a line feed ends a line, as texts may hold Unicode separators.

    Raises:
        RequestError: reading fails, or a line is longer than `LONGEST_LINE`.
    """
    number = 0
    while raw := _read(file, stream.readline, LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise RequestError(
                f"{shown(file)} line {number} is longer than {LONGEST_LINE // 2**20} MiB. A file of texts has one text "
                "per line: check that this is such a file, and that it ends."
            )
        yield number, raw


def decode(file: str, number: int, raw: bytes) -> Line:
    """Decode a line.

    Raises:
        RequestError: it is not UTF-8.
    """
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{shown(file)} line {number} is not UTF-8 (byte {error.start + 1}). Convert the file from its encoding "
            "first. For Latin-1, use: iconv -f LATIN1 -t UTF-8"
        ) from error
    return Line(file, number, text.rstrip("\r\n"))


def shown(file: str) -> str:
    """A file's name in a message."""
    return "stdin" if file == STDIN else file


def _read(file: str, read: Callable[[int], bytes], most: int) -> bytes:
    try:
        return read(most)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: OSError) -> RequestError:
    return RequestError(
        f"Cannot read {shown(file)}: {error.strerror or error}. Name a file of text lines, JSONL, JSON, CSV, TSV or "
        "Parquet, or - for stdin."
    )
