"""Read labeled pairs and judged sets as queries whose candidates are all labeled.

A pair is {"query": ..., "text": ..., "label": ...}, with an optional "instruction", or a table row with these columns.
Sets are recognized by their "candidates". Pairs with the same query and instruction are grouped, so they share a
prefix.
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
    """The labeled pairs to calibrate on.

    Attributes:
        tasks: queries with at least one labeled candidate. Their unlabeled candidates are left out.
        unlabelled: number of candidates that were left out because they have no label.
    """

    tasks: tuple[RankingTask, ...]
    unlabelled: int


def read_labeled(files: Sequence[str]) -> LabeledTasks:
    """Read all files as one collection of labeled pairs.

    Raises:
        RequestError: a record is neither a pair nor a query of a set; the message names its file and location.
    """
    grouped: dict[tuple[str, str | None], list[Candidate]] = {}
    unlabelled = 0
    limit = Limit("Labeled pairs", "Calibrate on fewer: a few thousand are plenty.")
    for task in (task for file in files for task in _tasks(file)):
        limit.count(task.candidates)
        labeled = [candidate for candidate in task.candidates if candidate.relevance is not None]
        unlabelled += len(task.candidates) - len(labeled)
        if labeled:
            grouped.setdefault((task.query, task.instruction), []).extend(labeled)
    tasks = (
        RankingTask(query, tuple(candidates), instruction=instruction)
        for (query, instruction), candidates in grouped.items()
    )
    return LabeledTasks(tuple(tasks), unlabelled)


def _tasks(file: str) -> Iterator[RankingTask]:
    with open_records(file) as found:
        if found.kind == "lines":
            for record in found.records:
                raise RequestError(f"{record.location} is not a JSON object. Write each pair as {_PAIR_LINE}.")
        yield from map(_parse, found.records)


def _parse(record: Record) -> RankingTask:
    fields, location = record.fields, record.location
    if "candidates" in fields and record.typed:
        return parse_task(record)
    missing = [name for name in ("query", "text", "label") if name not in fields]
    if missing:
        raise RequestError(
            f"{location} lacks {missing[0]!r}. Write each pair as {_PAIR_LINE} or as a table row with these columns, "
            "or pass judged sets."
        )
    instruction = fields.get("instruction")
    if instruction == "" and not record.typed:  # an empty cell of a table
        instruction = None
    if instruction is not None:
        instruction = take(fields, "instruction", str, location)
    candidate = Candidate(take(fields, "text", str, location), relevance=_label(record))
    return RankingTask(take(fields, "query", str, location), (candidate,), instruction=instruction)


def _label(record: Record) -> float:
    given = record.fields["label"]
    label = given if record.typed else _number(given)
    if not isinstance(label, (int, float)) or math.isnan(label):
        raise RequestError(f"{record.location}: 'label' must be true, false or a number, got {given!r:.40}.")
    return label


def _number(cell: str) -> float | None:
    """Return a table cell as a label; None if it is not one."""
    word = cell.strip().lower()
    try:
        return float(word == "true") if word in ("true", "false") else float(cell)
    except ValueError:
        return None
