"""Requests and answers as Parquet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, ParseRow
from qwen3_rerank_plugins.ray.fingerprint import digest_of_file
from qwen3_rerank_plugins.ray.source import ANSWER_FIELDS, REQUEST_FIELDS, Partition, Review, SourceFile, Split
from qwen3_rerank_plugins.ray.tables import rows_of, with_answers

_TAIL = 8
"""Bytes at the end of a Parquet file: the length of its footer, and the signature."""
_CHUNK = 2**20
"""Bytes that are read at once for a digest."""


class Parquet:
    """See `Format`. Reading is fastest with row groups of about as many rows as a partition."""

    suffix = ".parquet"

    def split(self, file: Path, rows: int) -> SourceFile:
        """Split by the row count in the footer. The digest of a split covers the row groups that hold it."""
        try:
            with file.open("rb") as stream, pq.ParquetFile(stream) as found:
                total = found.metadata.num_rows
                digests = _Digests(stream, found.metadata)
                splits = tuple(
                    Split(start, start + 1, min(rows, total - start), digests.of(start, start + rows))
                    for start in range(0, total, rows)
                )
            return SourceFile(file, digest_of_file(file), splits)
        except pa.ArrowException as error:
            raise RequestError(f"{file} is no Parquet file: {error}") from error
        except OSError as error:
            raise RequestError(f"Cannot read {file}: {error.strerror or error}. Check its permissions.") from error

    def answer(
        self, partition: Partition, rank: Callable[[Sequence[ParseRow]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """See `Format.answer`. Copied columns keep their types."""
        table = _read(partition)
        locations = [f"{partition.path} row {partition.line + offset}" for offset in range(len(table))]
        answers = rank(rows_of(table, locations, ANSWER_FIELDS))
        rows = pa.array(range(partition.first_row, partition.first_row + len(table)), pa.int64())
        answered = with_answers(table, answers, errors=True).add_column(0, "row", rows)
        pq.write_table(answered.drop_columns([name for name in REQUEST_FIELDS if name in table.column_names]), out)
        return answers

    def review(self, content: bytes) -> Review:
        """See `Format.review`."""
        table = pq.read_table(pa.BufferReader(content), columns=["row", "error"])
        return Review(table["row"].to_pylist(), len(table) - table["error"].null_count)


class _Digests:
    """Digests of rows: of their row groups, and of the footer, which says how to read them."""

    def __init__(self, stream: BinaryIO, metadata: pq.FileMetaData) -> None:
        self._stream, self._metadata = stream, metadata
        self._groups: dict[int, bytes] = {}
        end = stream.seek(-_TAIL, os.SEEK_END)
        length = int.from_bytes(stream.read(4), "little")
        self._footer = self._digest(end - length, length + _TAIL)

    def of(self, start: int, end: int) -> str:
        """SHA-256 for the rows from `start` to `end`, without `end`."""
        groups, _ = _groups(self._metadata, start, end)
        for group in groups:
            if group not in self._groups:
                self._groups[group] = self._digest(*_extent(self._metadata.row_group(group)))
        return hashlib.sha256(b"".join([self._footer, *(self._groups[group] for group in groups)])).hexdigest()

    def _digest(self, start: int, length: int) -> bytes:
        digest = hashlib.sha256()
        self._stream.seek(start)
        while length > 0 and (chunk := self._stream.read(min(length, _CHUNK))):
            digest.update(chunk)
            length -= len(chunk)
        return digest.digest()


def _extent(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Offset and length of a row group, in bytes."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [
        column.data_page_offset
        if column.dictionary_page_offset is None
        else min(column.dictionary_page_offset, column.data_page_offset)
        for column in columns
    ]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return (min(starts), max(ends) - min(starts)) if columns else (0, 0)


def _read(partition: Partition) -> pa.Table:
    """Read the rows of a partition. Other row groups are skipped, and no row group is held whole in memory."""
    end = partition.start + partition.rows
    with Path(partition.path).open("rb") as stream:
        before = _status(stream)
        try:
            with pq.ParquetFile(stream) as file:
                partition.check_unchanged(_Digests(stream, file.metadata).of(partition.start, end))
                table = _read_rows(file, partition, end)
        except RequestError:
            raise
        except (pa.ArrowException, ValueError, IndexError) as error:
            partition.check_unchanged(f"unreadable: {error}")
            raise
        if _status(stream) != before:
            partition.check_unchanged("written to while it was read")
        return table


def _status(stream: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_rows(file: pq.ParquetFile, partition: Partition, end: int) -> pa.Table:
    groups, position = _groups(file.metadata, partition.start, end)
    kept = []
    for batch in file.iter_batches(batch_size=partition.rows, row_groups=groups):
        first, last = max(partition.start - position, 0), min(end - position, len(batch))
        if first < last:
            kept.append(batch.slice(first, last - first))
        position += len(batch)
        if position >= end:
            break
    return pa.Table.from_batches(kept, file.schema_arrow)


def _groups(metadata: pq.FileMetaData, start: int, end: int) -> tuple[list[int], int]:
    """Row groups that hold rows from `start` to `end`, and the number of rows before the first of them."""
    found, before, position = list[int](), 0, 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        if position < end and position + rows > start:
            before = before if found else position
            found.append(number)
        position += rows
    return found, before
