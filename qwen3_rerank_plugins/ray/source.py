"""Split files of requests into partitions, which are the same in every run of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, ParseRow

REQUEST_FIELDS = ("query", "instruction", "documents", "candidates")
"""Fields of a request that are not copied into its answer."""
ANSWER_FIELDS = ("row", "results", "error")
"""Fields that an answer adds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """Consecutive rows of one file.

    Attributes:
        start: where they begin: a byte offset in a JSONL file, a row index in a Parquet file.
        line: number of the first row in messages: its line, or its row counted from 1.
        rows: number of rows.
        sha256: digest of the bytes that hold the rows, which is checked whenever they are read.
    """

    start: int
    line: int
    rows: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and its splits."""

    path: Path
    sha256: str
    splits: tuple[Split, ...]

    @property
    def rows(self) -> int:
        """Number of requests."""
        return sum(split.rows for split in self.splits)


@dataclasses.dataclass(frozen=True, slots=True)
class Partition(Split):
    """A split and its position in the job: the work of one actor at a time.

    Attributes:
        number: counted from 0 in the order of the input; it names the file of answers.
        path: the file of requests.
        first_row: number of rows in the partitions before this one.
    """

    number: int
    path: str
    first_row: int

    def check_unchanged(self, sha256: str) -> None:
        """Compare the digest of the bytes that were read with that of the split.

        Raises:
            RequestError: the file changed in this partition.
        """
        if sha256 != self.sha256:
            raise RequestError(
                f"{self.path} has changed since this job began, among the {counted(self.rows, 'row')} from {self.line} "
                "on. The finished answers are for the original file: restore it and run the job again, or "
                "start over with another output folder."
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Review:
    """The contents of a file of answers.

    Attributes:
        rows: the row numbers, in the order of the file.
        errors: number of rows that hold an error instead of results.
    """

    rows: list[int]
    errors: int


class Format(Protocol):
    """A file format. Answers have the format of their requests."""

    suffix: str
    """Suffix of the files of answers."""

    def split(self, file: Path, rows: int) -> SourceFile:
        """Split a file into runs of this many rows."""
        ...

    def answer(
        self, partition: Partition, rank: Callable[[Sequence[ParseRow]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """Read a partition, rank its rows, and write answers: row, other fields of the request, results, error.

        Raises:
            RequestError: the rows changed since the file was split.
        """
        ...

    def review(self, content: bytes) -> Review:
        """Read a file of answers; any exception means that it is not such a file."""
        ...


def partitions_of(files: Iterable[SourceFile]) -> list[Partition]:
    """Return the partitions in the order of the files and of their rows. No partition spans two files."""
    partitions: list[Partition] = []
    first_row = 0
    for file in files:
        path = str(file.path.resolve())
        for split in file.splits:
            fields = dataclasses.asdict(split)
            partitions.append(Partition(**fields, number=len(partitions), path=path, first_row=first_row))
            first_row += split.rows
    return partitions


def find_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the file itself, or the files of a folder in the order of their names, without hidden files.

    Args:
        path: a file or a folder.
        suffixes: suffixes of the supported formats.

    Raises:
        RequestError: there is no such file, or the folder has a compressed one.
    """
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
        found = [file for file in inside if file.suffix.lower() in suffixes]
        for file in inside:
            if file not in found and {suffix.lower() for suffix in file.suffixes} & {*suffixes}:
                raise RequestError(f"{file} would be left out: unpack or rename it, or move it out of the folder.")
    else:
        found = [path] if path.is_file() and path.suffix.lower() in suffixes else []
    if not found:
        raise RequestError(
            f"{path} is no file of requests and no folder that has any. Name a file that ends in "
            f"{', '.join(suffixes)}, or a folder of such files. A pipe cannot be read twice: write its requests to a "
            "file first."
        )
    return found
