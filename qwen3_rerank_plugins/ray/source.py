"""A file or a folder of requests -> partitions, which are the same whenever they are cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, Question


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """Rows of one file that stand together.

    Attributes:
        start: where they begin: a byte of a JSONL file, a row of a Parquet file.
        line: what the first one is called in messages: its line, or its row counted from 1.
        rows: how many they are.
        sha256: of the bytes that they are read from; whoever reads them later compares.
    """

    start: int
    line: int
    rows: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class SourceFile:
    """A file, cut."""

    path: Path
    sha256: str
    cuts: tuple[Cut, ...]

    @property
    def rows(self) -> int:
        """Requests in it."""
        return sum(cut.rows for cut in self.cuts)


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """A cut, and its place in the whole job: what one actor answers at a time.

    Attributes:
        number: counted from 0 in the order of the input; its answers are named by it.
        path: the file that it is of.
        first_row: rows of the job before it.
        start, line, rows, sha256: as those of `Cut`.
    """

    number: int
    path: str
    first_row: int
    start: int
    line: int
    rows: int
    sha256: str

    def check_unchanged(self, sha256: str) -> None:
        """Compare what was read with what was cut.

        Raises:
            RequestError: the file has another content now, if only there.
        """
        if sha256 != self.sha256:
            raise RequestError(
                f"{self.path} has changed since this job began, among the {counted(self.rows, 'row')} from {self.line} "
                "on. What was finished answers the file as it was: put it back and run the same again, or start anew "
                "with another output folder."
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Review:
    """What stands in a file of answers.

    Attributes:
        rows: the numbers of its rows, in its order.
        errors: how many of them say that their request could not be ranked.
    """

    rows: list[int]
    errors: int


class Format(Protocol):
    """A kind of files; answers are of the kind of their requests."""

    @property
    def suffix(self) -> str:
        """Of the files of answers."""
        ...

    def cut(self, file: Path, rows: int) -> SourceFile:
        """Cut a file into runs of so many rows."""
        ...

    def answer(
        self, partition: Partition, ask: Callable[[Sequence[Question]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """Read a partition, ask, and write its answers: row, what else the request carried, results, error.

        Raises:
            RequestError: its rows are not those that were cut.
        """
        ...

    def review(self, content: bytes) -> Review:
        """Read a file of answers again; any exception means that it is not one."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """All requests of a job."""

    files: tuple[SourceFile, ...]

    @property
    def rows(self) -> int:
        """Requests in all files."""
        return sum(file.rows for file in self.files)

    @property
    def partitions(self) -> list[Partition]:
        """In the order of the files and of their rows; none is of two files."""
        partitions: list[Partition] = []
        first_row = 0
        for file in self.files:
            for cut in file.cuts:
                partitions.append(
                    Partition(
                        len(partitions),
                        str(file.path.resolve()),
                        first_row,
                        cut.start,
                        cut.line,
                        cut.rows,
                        cut.sha256,
                    )
                )
                first_row += cut.rows
        return partitions


def find_files(path: Path, kinds: Sequence[str]) -> list[Path]:
    """The file itself, or the files of a folder in the order of their names; hidden ones are not meant.

    Args:
        path: a file or a folder.
        kinds: suffixes of files that can be read.

    Raises:
        RequestError: there are none.
    """
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
        found = [file for file in inside if file.suffix.lower() in kinds]
        packed = [file for file in inside if file not in found and {one.lower() for one in file.suffixes} & {*kinds}]
        if packed:
            raise RequestError(f"{packed[0]} would be left out: unpack or rename it, or move it out of the folder.")
    else:
        found = [path] if path.is_file() and path.suffix.lower() in kinds else []
    if not found:
        raise RequestError(
            f"{path} is no file of requests and no folder that has any. Name a file that ends in {', '.join(kinds)}, "
            "or a folder of them; requests that are piped cannot be read twice: write them to a file first."
        )
    return found
