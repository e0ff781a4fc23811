"""Files and stdin -> bytes and lines that know where they stood; nothing endless is ever read to its end."""

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
"""Bytes. A longer line is taken for one that never ends, such as that of /dev/zero."""
MOST_AT_ONCE = 256 * 2**20
"""Bytes of a file that has to be read whole: a JSON array, or Parquet from stdin."""
UTF8_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, without its end; lines are numbered from 1."""

    file: str
    number: int
    text: str

    @property
    def location(self) -> str:
        """Where to look for it."""
        return f"{shown(self.file)} line {self.number}"


@contextlib.contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """A file, or stdin for "-", which stays open.

    Raises:
        RequestError: the file cannot be opened.
    """
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  # closed below; what the caller does may raise its own OSError
    except OSError as error:
        raise _unreadable(file, error) from error
    with stream:
        yield stream


def raw_lines(file: str, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines with their ends. Only a line feed ends a line: texts may hold any other separator of Unicode.

    Raises:
        RequestError: reading fails, or a line is longer than `LONGEST_LINE`.
    """
    number = 0
    while raw := _read(file, stream.readline, LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise RequestError(
                f"{shown(file)} line {number} is longer than {LONGEST_LINE // 2**20} MiB. A file of texts has one on "
                "each line: check that it is one, and that it ends."
            )
        yield number, raw


def read_whole(file: str, stream: BinaryIO, kind: str, advice: str) -> bytes:
    """Everything that is left of a file.

    Raises:
        RequestError: reading fails, or there is more than `MOST_AT_ONCE`; it names the kind, and says the advice.
    """
    found = _read(file, stream.read, MOST_AT_ONCE + 1)
    if len(found) > MOST_AT_ONCE:
        raise RequestError(
            f"{shown(file)} has more than the {MOST_AT_ONCE // 2**20} MiB that {kind} may have. {advice}"
        )
    return found


def decode(file: str, number: int, raw: bytes) -> Line:
    """A line as it stands in the file.

    Raises:
        RequestError: it is not UTF-8.
    """
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{shown(file)} line {number} is not UTF-8 (byte {error.start + 1}). Convert the file first, from the "
            "encoding that it has; if that is Latin-1, with: iconv -f LATIN1 -t UTF-8"
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
