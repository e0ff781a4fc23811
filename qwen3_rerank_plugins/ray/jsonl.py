"""Requests and answers as JSONL, one object per line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from qwen3_rerank_plugins.data.file_formats import recognize
from qwen3_rerank_plugins.data.lines import NumberedLine, decode, opened, raw_lines
from qwen3_rerank_plugins.data.records import parse_object
from qwen3_rerank_plugins.data.tasks import RankingTask, parse_task
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, ParseRow
from qwen3_rerank_plugins.ray.source import ANSWER_FIELDS, REQUEST_FIELDS, Partition, Review, SourceFile, Split


class Jsonl:
    """See `Format`. Blank lines are not rows."""

    suffix = ".jsonl"

    def split(self, file: Path, rows: int) -> SourceFile:
        """Read the file once for its digests and the byte offsets of its splits."""
        whole, splits, position = hashlib.sha256(), list[Split](), 0
        digest = hashlib.sha256()
        with opened(str(file)) as stream:
            for number, raw in raw_lines(str(file), stream):
                whole.update(raw)
                if raw.strip():
                    if not splits:
                        _check_format(file, raw)
                    if not splits or splits[-1].rows == rows:
                        splits.append(Split(position, number, 0, ""))
                        digest = hashlib.sha256()
                    digest.update(raw)
                    splits[-1] = Split(splits[-1].start, splits[-1].line, splits[-1].rows + 1, digest.hexdigest())
                position += len(raw)
        return SourceFile(file, whole.hexdigest(), tuple(splits))

    def answer(
        self, partition: Partition, rank: Callable[[Sequence[ParseRow]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """See `Format.answer`. Like the output of `rank`, answers are strict ASCII JSON, unless a request has NaN."""
        lines = list(_read(partition))
        partition.check_unchanged(hashlib.sha256(b"".join(raw for _, raw in lines)).hexdigest())
        answers = rank([partial(_parse, partition.path, line) for line in lines])
        for row, (line, answer) in enumerate(zip(lines, answers, strict=True), partition.first_row):
            fields = {"row": row, **_other_fields(partition.path, line)}
            fields |= {"results": answer.results, "error": answer.error}
            out.write(json.dumps(fields).encode() + b"\n")
        return answers

    def review(self, content: bytes) -> Review:
        """See `Format.review`."""
        found = [json.loads(line) for line in content.splitlines()]
        return Review([line["row"] for line in found], sum(line["error"] is not None for line in found))


def _check_format(file: Path, first: bytes) -> None:
    """Refuse a JSON array or Parquet with a suffix of JSONL, which would fail in every actor."""
    kind = recognize(str(file), first, "")
    if kind == "json":
        raise RequestError(
            f"{file} is JSON over several lines, and a job reads one object per line. Convert it, for example with: "
            f"jq -c '.[]' {file.name} > requests.jsonl"
        )
    if kind == "parquet":
        raise RequestError(f"{file} is Parquet, despite its name. Rename it to end in .parquet.")


def _read(partition: Partition) -> Iterator[NumberedLine]:
    left = partition.rows
    with Path(partition.path).open("rb") as stream:
        stream.seek(partition.start)
        for number, raw in raw_lines(partition.path, stream):
            if raw.strip():
                yield partition.line + number - 1, raw
                left -= 1
            if not left:
                return


def _parse(file: str, line: NumberedLine) -> RankingTask:
    record = parse_object(decode(file, *line))
    for name in ANSWER_FIELDS:
        if name in record.fields:
            raise RequestError(f"{record.location} has a field {name!r}, which its answer needs: rename it.")
    return parse_task(record)


def _other_fields(file: str, line: NumberedLine) -> dict[str, Any]:
    """Fields of a request that are copied into its answer, such as its ID; none if the line cannot be read."""
    try:
        fields = parse_object(decode(file, *line)).fields
    except RequestError:
        return {}
    return {name: value for name, value in fields.items() if name not in {*REQUEST_FIELDS, *ANSWER_FIELDS}}
