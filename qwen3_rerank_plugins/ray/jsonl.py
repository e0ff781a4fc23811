"""Requests and answers as JSONL, one object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from qwen3_rerank_plugins.data.file_formats import recognize
from qwen3_rerank_plugins.data.lines import decode, opened, raw_lines
from qwen3_rerank_plugins.data.readers import parse_object
from qwen3_rerank_plugins.data.tasks import RankingTask, task_of
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, Question
from qwen3_rerank_plugins.ray.source import Cut, Partition, Review, SourceFile

READ = {"query", "instruction", "documents", "candidates"}
"""Fields that are not handed on: the answer's reader has them, or finds them by its row."""
WRITTEN = ("row", "results", "error")
Raw = tuple[int, bytes]
"""A line's number in its file, and the line."""


class Jsonl:
    """See `Format`. Blank lines are no rows."""

    suffix = ".jsonl"

    def cut(self, file: Path, rows: int) -> SourceFile:
        """One pass over the file, for its digests and the first bytes of its partitions."""
        whole, cuts, position = hashlib.sha256(), list[Cut](), 0
        part = hashlib.sha256()
        with opened(str(file)) as stream:
            for number, raw in raw_lines(str(file), stream):
                whole.update(raw)
                if raw.strip():
                    if not cuts:
                        _check_kind(file, raw)
                    if not cuts or cuts[-1].rows == rows:
                        cuts.append(Cut(position, number, 0, ""))
                        part = hashlib.sha256()
                    part.update(raw)
                    cuts[-1] = Cut(cuts[-1].start, cuts[-1].line, cuts[-1].rows + 1, part.hexdigest())
                position += len(raw)
        return SourceFile(file, whole.hexdigest(), tuple(cuts))

    def answer(
        self, partition: Partition, ask: Callable[[Sequence[Question]], list[Answer]], out: BinaryIO
    ) -> list[Answer]:
        """Answers are strict ASCII, as those of `rank`, unless the request itself carries NaN."""
        lines = list(_read(partition))
        partition.check_unchanged(hashlib.sha256(b"".join(raw for _, raw in lines)).hexdigest())
        answers = ask([partial(_task, partition.path, line) for line in lines])
        for row, (line, answer) in enumerate(zip(lines, answers, strict=True), partition.first_row):
            whole = {"row": row, **_carried(partition.path, line), "results": answer.results, "error": answer.error}
            out.write(json.dumps(whole).encode() + b"\n")
        return answers

    def review(self, content: bytes) -> Review:
        """See `Format.review`."""
        found = [json.loads(line) for line in content.splitlines()]
        return Review([line["row"] for line in found], sum(line["error"] is not None for line in found))


def _check_kind(file: Path, first: bytes) -> None:
    """A JSON array or Parquet under a name of JSONL would fail in every actor."""
    kind = recognize(str(file), first, "")
    if kind == "json":
        raise RequestError(
            f"{file} is JSON over several lines, and a job reads one object a line. Convert it, for example with: "
            f"jq -c '.[]' {file.name} > requests.jsonl"
        )
    if kind == "parquet":
        raise RequestError(f"{file} is Parquet, whatever its name says. Rename it to end in .parquet.")


def _read(partition: Partition) -> Iterator[Raw]:
    left = partition.rows
    with Path(partition.path).open("rb") as stream:
        stream.seek(partition.start)
        for number, raw in raw_lines(partition.path, stream):
            if raw.strip():
                yield partition.line + number - 1, raw
                left -= 1
            if not left:
                return


def _fields(file: str, line: Raw) -> tuple[dict[str, Any], str]:
    decoded = decode(file, *line)
    return parse_object(decoded), decoded.location


def _task(file: str, line: Raw) -> RankingTask:
    fields, location = _fields(file, line)
    taken = [name for name in WRITTEN if name in fields]
    if taken:
        raise RequestError(f"{location} has a field {taken[0]!r}, which its answer needs: rename it.")
    return task_of(fields, location)


def _carried(file: str, line: Raw) -> dict[str, Any]:
    """What else the request holds, such as its name; nothing of one that cannot be read."""
    try:
        fields, _ = _fields(file, line)
    except RequestError:
        return {}
    return {name: value for name, value in fields.items() if name not in {*READ, *WRITTEN}}
