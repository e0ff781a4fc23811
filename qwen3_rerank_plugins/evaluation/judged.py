"""Read judged reranking sets and select the queries that can be measured.

A set is read twice, once for its counts and once for its tasks, so that large sets need not fit in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from qwen3_rerank_plugins.data.lines import STDIN, shown
from qwen3_rerank_plugins.data.readers import open_records, require_objects
from qwen3_rerank_plugins.data.tasks import RankingTask, parse_task
from qwen3_rerank_plugins.errors import RequestError

_HIGHEST_GRADE = 1000
"""trec_eval allocates a table as long as the highest grade."""


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedSet:
    """One judged set and its counts.

    Attributes:
        file: path of the file.
        name: names of its folder and file.
        queries: queries with a relevant candidate. Only these are measured.
        left_out: queries without a relevant candidate, because no order of their candidates is better than another.
        documents: candidates of the measured queries.
        fewest, most: smallest and largest number of candidates of a measured query.
        unjudged: unjudged candidates of the measured queries; they count as not relevant, as in trec_eval.
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
        """Yield the measured queries in the order of the file."""
        return filter(_has_relevant, read_tasks(self.file))


def survey(files: Sequence[str]) -> tuple[JudgedSet, ...]:
    """Read each set once, so that a bad line is reported before a model is loaded.

    Raises:
        RequestError: a file cannot be read as a set, or has no query with a relevant candidate.
    """
    if not files:
        raise RequestError("There is nothing to evaluate. Name at least one judged set.")
    return tuple(map(_survey_file, files))


def grades(task: RankingTask) -> tuple[int, ...]:
    """Return the relevance of each candidate as a whole number; 0 if it is not relevant or unjudged.

    Raises:
        RequestError: a relevance is not a whole number up to 1,000.
    """
    found = []
    for candidate in task.candidates:
        relevance = candidate.relevance or 0
        if not -_HIGHEST_GRADE <= relevance <= _HIGHEST_GRADE or relevance != int(relevance):
            raise RequestError(
                f"{task.location}: a relevance must be a whole number up to {_HIGHEST_GRADE}, got {relevance}."
            )
        found.append(max(0, int(relevance)))
    return tuple(found)


def read_tasks(file: str) -> Iterator[RankingTask]:
    """Yield all queries of a set. Blank lines are skipped.

    Raises:
        RequestError: a record is not a query of a set, or the file cannot be read twice.
    """
    path = Path(file)
    if file == STDIN or (path.exists() and not path.is_file() and not path.is_dir()):
        raise RequestError(f"Sets are read twice, before and after loading the model. Name a file, not {shown(file)}.")
    return _tasks(file)


def _tasks(file: str) -> Iterator[RankingTask]:
    with open_records(file) as found:
        yield from map(parse_task, require_objects(found, file, "a judged set"))


def set_name(file: str) -> str:
    """Return the last folder and the name of a file, which tell sets apart without naming the rest of the path."""
    path = Path(file)
    return (Path(*path.parts[-2:]) if len(path.parts) > 1 else path).with_suffix("").as_posix().lstrip("/")


def _survey_file(file: str) -> JudgedSet:
    sizes: list[int] = []
    unjudged = left_out = 0
    for task in read_tasks(file):
        grades(task)  # refuses invalid grades
        if not _has_relevant(task):
            left_out += 1
            continue
        sizes.append(len(task.candidates))
        unjudged += sum(candidate.relevance is None for candidate in task.candidates)
    require_relevant(file, sizes)
    return JudgedSet(file, set_name(file), len(sizes), left_out, sum(sizes), min(sizes), max(sizes), unjudged)


def require_relevant(name: str, queries: Sequence[object]) -> None:
    """Refuse the set `name` if it has no queries with a relevant candidate."""
    if not queries:
        raise RequestError(
            f"{name} has no query with a relevant candidate, so there is nothing to measure. Give each judged "
            'candidate a "relevance", and a value above zero if it is relevant.'
        )


def _has_relevant(task: RankingTask) -> bool:
    return any(candidate.relevant for candidate in task.candidates)
