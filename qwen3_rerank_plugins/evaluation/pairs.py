"""Lines of labelled pairs, or of judged sets -> queries whose candidates are all labelled.

Comes in: file names. Goes out: `LabelledTasks`.
Must not know: models, thresholds.

A pair's line is {"query": ..., "text": ..., "label": ...}, with an optional "instruction"; sets are recognised by their
"candidates". Pairs of one query are put together, wherever they stand, so that they share a prefix.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.sets.lines import Line, read_lines
from qwen3_rerank_plugins.sets.tasks import Candidate, RankingTask, parse_object, parse_task, take

_PAIR_LINE = '{"query": ..., "text": ..., "label": 0 or 1}'


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledTasks:
    """What there is to calibrate on.

    Attributes:
        tasks: queries with at least one labelled candidate, and without those that nobody labelled.
        unlabelled: how many candidates were dropped for that.
    """

    tasks: tuple[RankingTask, ...]
    unlabelled: int


def read_labelled(files: Sequence[str]) -> LabelledTasks:
    """All files, as one collection.

    Raises:
        RequestError: a line is neither a pair nor a set's; the message names file and line.
    """
    grouped: dict[tuple[str, str | None], list[Candidate]] = {}
    unlabelled = 0
    for task in (_parse(line) for file in files for line in _filled(file)):
        labelled = [candidate for candidate in task.candidates if candidate.relevance is not None]
        unlabelled += len(task.candidates) - len(labelled)
        if labelled:
            grouped.setdefault((task.query, task.instruction), []).extend(labelled)
    tasks = (
        RankingTask(query, tuple(candidates), instruction=instruction)
        for (query, instruction), candidates in grouped.items()
    )
    return LabelledTasks(tuple(tasks), unlabelled)


def _filled(file: str) -> Iterator[Line]:
    return (line for line in read_lines(file) if line.text.strip())


def _parse(line: Line) -> RankingTask:
    fields = parse_object(line)
    if "candidates" in fields:
        return parse_task(line)
    missing = [name for name in ("query", "text", "label") if name not in fields]
    if missing:
        raise RequestError(f"{line.place} lacks {missing[0]!r}. A pair's line is {_PAIR_LINE}; sets do as well.")
    instruction = take(fields, "instruction", str, line.place) if fields.get("instruction") is not None else None
    candidate = Candidate(take(fields, "text", str, line.place), relevance=_label(fields["label"], line))
    return RankingTask(take(fields, "query", str, line.place), (candidate,), instruction=instruction)


def _label(label: Any, line: Line) -> float:
    if not isinstance(label, (int, float)) or math.isnan(label):
        raise RequestError(f"{line.place}: 'label' must be true, false or a number, got {label!r:.40}.")
    return label
