"""Pool the candidates of a judged set into one collection to search, with the judgments of its queries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from qwen3_rerank_plugins.data.bundled import bundled_tasks
from qwen3_rerank_plugins.data.tasks import RankingTask
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.judged import grades, read_tasks, require_relevant, set_name


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and its relevant passages.

    Attributes:
        query_id: the set's ID of the query, or "line-" and its number.
        text: the query.
        relevant: grades, above zero, by passage ID. All other passages count as not relevant, judged or not.
    """

    query_id: str
    text: str
    relevant: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """Passages to search, and queries with a relevant passage among them.

    Attributes:
        name: folder and file name of the set.
        passages: texts by passage ID, which is the set's `doc_id` or a digest of the text.
        queries: the queries with a relevant passage, in the order of the set.
        instructions: the set's instructions by the text of the query.
    """

    name: str
    passages: Mapping[str, str]
    queries: tuple[JudgedQuery, ...]
    instructions: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """A digest of the passages, for example to name an index of them."""
        return _digest(json.dumps(sorted(self.passages.items())))

    def first(self, queries: int | None) -> Collection:
        """Return a collection with the same passages and only the first queries; None keeps all queries."""
        if queries is not None:
            queries = positive_int("queries", queries)
        return dataclasses.replace(self, queries=self.queries[:queries])

    def instruction_for(self, query: str) -> str | None:
        """Return the set's instruction for a query. Every `instruction` option accepts this method."""
        return self.instructions.get(query)


def read_collection(file: str | Path) -> Collection:
    """Read a judged set as a collection.

    Args:
        file: a judged set (JSONL), each line a query with its candidates.

    Raises:
        RequestError: a line cannot be read, two texts or two queries have the same ID, or nothing is relevant.
    """
    return _pool(set_name(str(file)), read_tasks(str(file)))


def bundled_collection() -> Collection:
    """Return the small bundled set, for first steps and tests. It is too small to measure quality."""
    return _pool("bundled", bundled_tasks())


def _pool(name: str, tasks: Iterable[RankingTask]) -> Collection:
    passages: dict[str, str] = {}
    queries: dict[str, JudgedQuery] = {}
    instructions: dict[str, str] = {}
    for number, task in enumerate(tasks, 1):
        relevant: dict[str, int] = {}
        for candidate, grade in zip(task.candidates, grades(task), strict=True):
            passage = _digest(candidate.text) if candidate.doc_id is None else str(candidate.doc_id)
            if passages.setdefault(passage, candidate.text) != candidate.text:
                raise RequestError(
                    f"{task.location}: doc_id {passage!r} has another text earlier in the set. Use one ID per text."
                )
            if grade:
                relevant[passage] = max(grade, relevant.get(passage, 0))
        if relevant:
            query_id = f"line-{number}" if task.query_id is None else str(task.query_id)
            query = JudgedQuery(query_id, task.query, relevant)
            if queries.setdefault(query_id, query) is not query:
                raise RequestError(f"{task.location}: query_id {query_id!r} occurs twice. Use one ID per query.")
        if task.instruction is not None:
            instructions[task.query] = task.instruction
    require_relevant(name, [*queries])
    return Collection(name, passages, tuple(queries.values()), instructions)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
