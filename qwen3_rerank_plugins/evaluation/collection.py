"""A judged set -> one collection to search: all its candidates pooled, and its queries with their judgements.

Comes in: a file name. Goes out: `Collection`.
Must not know: who searches, measures.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from qwen3_rerank_plugins.data.bundled import bundled_tasks
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.judged import grades, read_tasks, set_name


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query, and what should be found for it.

    Attributes:
        query_id: its name; the set's, or the line it stands on.
        text: what is looked for.
        relevant: grades, above zero, by the names of passages; all others count as not relevant, judged or not.
    """

    query_id: str
    text: str
    relevant: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """Passages to search in, and queries that have an answer among them.

    Attributes:
        name: the set's folder and file.
        passages: texts by name: the set's `doc_id`, or a digest of the text.
        queries: those with a relevant passage, in the order of the set.
        instructions: the set's own, by the text of the query.
    """

    name: str
    passages: Mapping[str, str]
    queries: tuple[JudgedQuery, ...]
    instructions: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Equal for equal passages: what an index of them may be known by."""
        return _digest(json.dumps(sorted(self.passages.items())))

    def first(self, queries: int | None) -> Collection:
        """The same passages with only so many queries; None keeps all."""
        if queries is not None:
            queries = positive_int("queries", queries)
        return dataclasses.replace(self, queries=self.queries[:queries])

    def instruction_for(self, query: str) -> str | None:
        """The set's instruction for one of its queries, in the form that every `instruction` option takes."""
        return self.instructions.get(query)


def read_collection(file: str | Path) -> Collection:
    """Pool a set.

    Args:
        file: a judged set (JSONL), each line a query with its candidates.

    Raises:
        RequestError: a line cannot be read, one name stands for two texts or two queries, or nothing is relevant.
    """
    return _pool(set_name(str(file)), read_tasks(str(file)))


def bundled_collection() -> Collection:
    """The small set that comes with the package, for a first look and for tests; it measures nothing of worth."""
    return _pool("bundled", bundled_tasks())


def _pool(name: str, tasks: Iterable[RankingTask]) -> Collection:
    passages: dict[str, str] = {}
    queries: dict[str, JudgedQuery] = {}
    instructions: dict[str, str] = {}
    for number, task in enumerate(tasks, 1):
        relevant: dict[str, int] = {}
        for candidate, grade in zip(task.candidates, grades(task), strict=True):
            passage = _name_of(candidate)
            if passages.setdefault(passage, candidate.text) != candidate.text:
                raise RequestError(
                    f"{task.location}: doc_id {passage!r} stood for another text before. Use one for each."
                )
            if grade:
                relevant[passage] = max(grade, relevant.get(passage, 0))
        if relevant:
            query = JudgedQuery(_query_id(task, number), task.query, relevant)
            if queries.setdefault(query.query_id, query) is not query:
                raise RequestError(f"{task.location}: query_id {query.query_id!r} is there twice. Use one for each.")
        if task.instruction is not None:
            instructions[task.query] = task.instruction
    if not queries:
        raise RequestError(
            f"{name} has no query with a relevant candidate, so that there is nothing to look for. A judged candidate "
            'carries "relevance", above zero where it is relevant.'
        )
    return Collection(name, passages, tuple(queries.values()), instructions)


def _name_of(candidate: Candidate) -> str:
    return _digest(candidate.text) if candidate.doc_id is None else str(candidate.doc_id)


def _query_id(task: RankingTask, number: int) -> str:
    return f"line-{number}" if task.query_id is None else str(task.query_id)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
