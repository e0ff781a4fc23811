"""Ranking tasks, each a query with its candidates, and how to parse them from the records of a reranking set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.errors import RequestError

_SET_LINE = (
    '{"query_id": ..., "query": ..., "instruction": optional, "candidates": [{"doc_id": ..., "text": ...}]}, or with '
    '"documents": ["...", ...] in place of the candidates'
)
_KINDS: dict[type, str] = {
    str: "a string",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    type(None): "null",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One document to be ranked.

    Attributes:
        text: what the model reads.
        doc_id: its document ID, if the file has one.
        relevance: the judged relevance, if there is one; above zero is relevant.
    """

    text: str
    doc_id: str | int | None = None
    relevance: float | None = None

    @property
    def relevant(self) -> bool | None:
        """Whether it was judged relevant; None without a judgment."""
        return None if self.relevance is None else self.relevance > 0


@dataclasses.dataclass(frozen=True, slots=True)
class RankingTask:
    """One query and its candidates, in the order of the first stage.

    Attributes:
        query: the query.
        candidates: the documents to rank.
        query_id: the query's ID, if the file has one.
        instruction: the set's definition of relevance, if it has one.
        location: the file and the line, row or item that the task was read from; empty if it was not read from a file.
    """

    query: str
    candidates: tuple[Candidate, ...]
    query_id: str | int | None = None
    instruction: str | None = None
    location: str = ""


def parse_task(record: Record) -> RankingTask:
    """Parse the query and the candidates of a record. `documents`, a list of texts, may replace `candidates`.

    Raises:
        RequestError: a field is missing or has the wrong type; the message names the location and the field.
    """
    fields, location = record.fields, record.location
    return RankingTask(
        query=take(fields, "query", str, location),
        candidates=_candidates(fields, location),
        query_id=_take_id(fields, "query_id", location),
        instruction=take(fields, "instruction", str, location) if fields.get("instruction") is not None else None,
        location=location,
    )


def take(fields: Mapping[str, Any], name: str, kind: type, location: str) -> Any:
    """Return a required field.

    Raises:
        RequestError: it is missing, or is not of this type.
    """
    if name not in fields:
        raise RequestError(f"{location} lacks {name!r}. A set's line is {_SET_LINE}.")
    if not isinstance(fields[name], kind):
        raise RequestError(f"{location}: {name!r} must be {_KINDS[kind]}, got {_kind_of(fields[name])}.")
    return fields[name]


def _candidates(fields: Mapping[str, Any], location: str) -> tuple[Candidate, ...]:
    if fields.get("documents") is None:
        return tuple(_parse_candidate(candidate, location) for candidate in take(fields, "candidates", list, location))
    if fields.get("candidates") is not None:
        raise RequestError(f"{location} has both 'candidates' and 'documents': drop one of the two.")
    texts = take(fields, "documents", list, location)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise RequestError(f"{location}: documents[{number}] must be a string, got {_kind_of(text)}.")
    return tuple(map(Candidate, texts))


def _parse_candidate(fields: object, location: str) -> Candidate:
    if not isinstance(fields, dict):
        raise RequestError(f'{location}: every candidate must be an object like {{"doc_id": "a", "text": "..."}}.')
    relevance = fields.get("relevance")
    judged = relevance if isinstance(relevance, (int, float)) else None
    return Candidate(take(fields, "text", str, location), _take_id(fields, "doc_id", location), judged)


def _take_id(fields: Mapping[str, Any], name: str, location: str) -> str | int | None:
    found = fields.get(name)
    if found is not None and (not isinstance(found, (str, int)) or isinstance(found, bool)):
        raise RequestError(f"{location}: {name!r} must be a string or a whole number, got {_kind_of(found)}.")
    return found


def _kind_of(value: object) -> str:
    return _KINDS.get(type(value), "a number")
