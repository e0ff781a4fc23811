"""Requests and answers as Parquet, one row each.

Comes in: files of requests. Goes out: files of answers.
Must not know: models, Ray.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from qwen3_rerank_plugins.batch.jsonl import READ, WRITTEN
from qwen3_rerank_plugins.batch.source import Cut, Partition, Review, SourceFile
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, Question
from qwen3_rerank_plugins.ray.tables import questions_of, with_answers


class Parquet:
    """See `Format`. Reading is cheapest where a row group has about as many rows as a partition."""

    suffix = ".parquet"

    def cut(self, file: Path, rows: int) -> SourceFile:
        """By the number of rows that the file's end tells."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            total = pq.read_metadata(file).num_rows
        except pa.ArrowException as error:
            raise RequestError(f"{file} is no Parquet file: {error}") from error
        cuts = (Cut(start, start + 1, min(rows, total - start)) for start in range(0, total, rows))
        return SourceFile(file, digest, tuple(cuts))

    def answer(
        self, partition: Partition, ask: Callable[[Sequence[Question]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """The columns that are not read for the question are handed on as they are."""
        table = _read(partition)
        places = [f"{partition.path} row {partition.line + place}" for place in range(len(table))]
        answers = ask(questions_of(table, places, WRITTEN))
        rows = pa.array(range(partition.first_row, partition.first_row + len(table)), pa.int64())
        answered = with_answers(table, answers, errors=True).add_column(0, "row", rows)
        pq.write_table(answered.drop_columns([name for name in READ if name in table.column_names]), out)
        return answers

    def review(self, file: Path) -> Review:
        """See `Format.review`."""
        table = pq.read_table(file, columns=["row", "error"])
        return Review(table["row"].to_pylist(), len(table) - table["error"].null_count)


def _read(partition: Partition) -> pa.Table:
    """Row groups that hold none of the rows are passed over, and no group is ever whole in memory."""
    end = partition.start + partition.rows
    with pq.ParquetFile(partition.path) as file:
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
    """Those that hold rows from `start` to `end`, and the rows before the first of them."""
    found, before, position = list[int](), 0, 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        if position < end and position + rows > start:
            before = before if found else position
            found.append(number)
        position += rows
    return found, before
