"""Records of labelled pairs, or of judged sets -> queries whose candidates are all labelled.

A pair is {"query": ..., "text": ..., "label": ...}, with an optional "instruction", or a row of a table with these
columns; sets are recognized by their "candidates". Pairs of one query are put together, wherever they stand, and so
share a prefix.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from qwen3_rerank_plugins.data.limits import Limit
from qwen3_rerank_plugins.data.readers import open_records
from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask, parse_task, take
from qwen3_rerank_plugins.errors import RequestError

_PAIR_LINE = '{"query": ..., "text": ..., "label": 0 or 1}'


@dataclasses.dataclass(frozen=True, slots=True)
class LabeledTasks:
    """What there is to calibrate on.

    Attributes:
        tasks: queries with at least one labelled candidate, and without those that nobody labelled.
        unlabelled: how many candidates were dropped for that.
    """

    tasks: tuple[RankingTask, ...]
    unlabelled: int


def read_labeled(files: Sequence[str]) -> LabeledTasks:
    """All files, as one collection.

    Raises:
        RequestError: a record is neither a pair nor a set's; the message names its file and its place there.
    """
    grouped: dict[tuple[str, str | None], list[Candidate]] = {}
    unlabelled = 0
    limit = Limit("Labelled pairs", "Calibrate on fewer: a few thousand are plenty.")
    for task in (task for file in files for task in _tasks(file)):
        limit.count(task.candidates)
        labelled = [candidate for candidate in task.candidates if candidate.relevance is not None]
        unlabelled += len(task.candidates) - len(labelled)
        if labelled:
            grouped.setdefault((task.query, task.instruction), []).extend(labelled)
    tasks = (
        RankingTask(query, tuple(candidates), instruction=instruction)
        for (query, instruction), candidates in grouped.items()
    )
    return LabeledTasks(tuple(tasks), unlabelled)


def _tasks(file: str) -> Iterator[RankingTask]:
    with open_records(file) as found:
        if found.kind == "lines":
            for record in found.records:
                raise RequestError(f"{record.location} is not a JSON object. A pair's line is {_PAIR_LINE}.")
        yield from map(_parse, found.records)


def _parse(record: Record) -> RankingTask:
    fields, location = record.fields, record.location
    if "candidates" in fields and record.typed:
        return parse_task(record)
    missing = [name for name in ("query", "text", "label") if name not in fields]
    if missing:
        raise RequestError(
            f"{location} lacks {missing[0]!r}. A pair's line is {_PAIR_LINE}, or a row of a table with these columns; "
            "sets do as well."
        )
    given = fields.get("instruction")
    instruction = (
        None if given is None or (given == "" and not record.typed) else take(fields, "instruction", str, location)
    )
    candidate = Candidate(take(fields, "text", str, location), relevance=_label(record))
    return RankingTask(take(fields, "query", str, location), (candidate,), instruction=instruction)


def _label(record: Record) -> float:
    label = record.fields["label"]
    if not record.typed:
        label = _number(label)
    if not isinstance(label, (int, float)) or math.isnan(label):
        raise RequestError(
            f"{record.location}: 'label' must be true, false or a number, got {record.fields['label']!r:.40}."
        )
    return label


def _number(cell: str) -> float | None:
    """A cell of a table as a label."""
    words = {"true": 1.0, "false": 0.0}
    try:
        return words[cell.strip().lower()] if cell.strip().lower() in words else float(cell)
    except ValueError:
        return None
