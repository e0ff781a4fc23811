"""Files of judged reranking sets -> the queries that can be measured.

Comes in: file names. Goes out: `JudgedSet`s, whose tasks are read again as they are drawn, so that sets may be large.
Must not know: models, measures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from qwen3_rerank_plugins.data.lines import STDIN, shown
from qwen3_rerank_plugins.data.readers import open_records, require_objects
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask, parse_task
from qwen3_rerank_plugins.errors import RequestError


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedSet:
    """One file, looked through once.

    Attributes:
        file: where it is.
        name: its folder and its own name.
        queries: those with a relevant candidate.
        left_out: those without; no order of them is better than another.
        documents: candidates of the queries that count.
        fewest, most: candidates of one of these queries.
        unjudged: candidates among them that nobody judged; they count as not relevant, as in trec_eval.
    """

    file: str
    name: str
    queries: int
    left_out: int
    documents: int
    fewest: int
    most: int
    unjudged: int

    def tasks(self) -> Iterator[RankingTask]:
        """The queries that count, in the order of the file."""
        return filter(_has_relevant, read_tasks(self.file))


def survey(files: Sequence[str]) -> tuple[JudgedSet, ...]:
    """Read everything once, so that a bad line shows before a model is loaded for it.

    Raises:
        RequestError: a file cannot be read as a set, or has no query with a relevant candidate.
    """
    if not files:
        raise RequestError("There is nothing to evaluate: name at least one judged set.")
    return tuple(map(_look_through, files))


def grades(task: RankingTask) -> tuple[int, ...]:
    """How relevant each candidate is, in whole numbers; 0 where it is not, or where nobody judged."""
    return tuple(_grade(candidate, task) for candidate in task.candidates)


def read_tasks(file: str) -> Iterator[RankingTask]:
    """All queries of a set; blank lines are none.

    Raises:
        RequestError: a record is no query of a set, or the file cannot be read twice.
    """
    path = Path(file)
    if file == STDIN or (path.exists() and not path.is_file() and not path.is_dir()):
        raise RequestError(
            f"Sets are read twice, once before the model is loaded: name a file instead of {shown(file)}."
        )
    return _tasks(file)


def _tasks(file: str) -> Iterator[RankingTask]:
    with open_records(file) as found:
        yield from map(parse_task, require_objects(found, file, "a judged set"))


def set_name(file: str) -> str:
    """The last folder and the name of a file: enough to tell sets apart, and nothing about the machine."""
    path = Path(file)
    return (Path(*path.parts[-2:]) if len(path.parts) > 1 else path).with_suffix("").as_posix().lstrip("/")


def _look_through(file: str) -> JudgedSet:
    sizes: list[int] = []
    unjudged = left_out = 0
    for task in read_tasks(file):
        grades(task)  # refuses what is no grade
        if not _has_relevant(task):
            left_out += 1
            continue
        sizes.append(len(task.candidates))
        unjudged += sum(candidate.relevance is None for candidate in task.candidates)
    if not sizes:
        raise RequestError(
            f"{file} has no query with a relevant candidate, so that there is nothing to measure. A judged candidate "
            'carries "relevance", above zero where it is relevant.'
        )
    return JudgedSet(file, set_name(file), len(sizes), left_out, sum(sizes), min(sizes), max(sizes), unjudged)


def _has_relevant(task: RankingTask) -> bool:
    return any(candidate.relevant for candidate in task.candidates)


def _grade(candidate: Candidate, task: RankingTask) -> int:
    relevance = candidate.relevance or 0
    if not -_HIGHEST <= relevance <= _HIGHEST or relevance != int(relevance):
        raise RequestError(f"{task.location}: a relevance must be a whole number up to {_HIGHEST}, got {relevance}.")
    return max(0, int(relevance))


_HIGHEST = 1000
"""trec_eval makes a table as long as the highest grade."""
