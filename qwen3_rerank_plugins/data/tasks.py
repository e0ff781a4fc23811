"""Records of a reranking set, one query with its candidates each -> what is to be ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from qwen3_rerank_plugins.data.readers import Record
from qwen3_rerank_plugins.errors import RequestError


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One document to be ranked.

    Attributes:
        text: what the model reads.
        doc_id: its name, where the format gives it one.
        relevance: how relevant people judged it to be, where they did; above zero is relevant.
    """

    text: str
    doc_id: str | int | None = None
    relevance: float | None = None

    @property
    def relevant(self) -> bool | None:
        """Whether people judged it relevant, where they did."""
        return None if self.relevance is None else self.relevance > 0


@dataclasses.dataclass(frozen=True, slots=True)
class RankingTask:
    """One query and its candidates, in the order of the first stage.

    Attributes:
        query: what is looked for.
        candidates: where to look.
        query_id: its name, where the format gives it one.
        instruction: what relevant means, where the set says so.
        location: the file and the line, row or item that it came from, where it is one.
    """

    query: str
    candidates: tuple[Candidate, ...]
    query_id: str | int | None = None
    instruction: str | None = None
    location: str = ""


def parse_task(record: Record) -> RankingTask:
    """The query and the candidates of a set's record."""
    return task_of(record.fields, record.location)


def task_of(fields: Mapping[str, Any], location: str) -> RankingTask:
    """The query and the candidates that an object holds; mere texts may stand as `documents` instead.

    Args:
        fields: as JSON has them.
        location: where they stood, for messages.
    """
    return RankingTask(
        query=take(fields, "query", str, location),
        candidates=_candidates(fields, location),
        query_id=_take_name(fields, "query_id", location),
        instruction=take(fields, "instruction", str, location) if fields.get("instruction") is not None else None,
        location=location,
    )


def _candidates(fields: Mapping[str, Any], location: str) -> tuple[Candidate, ...]:
    if fields.get("documents") is None:
        return tuple(_parse_candidate(candidate, location) for candidate in take(fields, "candidates", list, location))
    if fields.get("candidates") is not None:
        raise RequestError(f"{location} has both 'candidates' and 'documents': drop one of the two.")
    texts = take(fields, "documents", list, location)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise RequestError(f"{location}: documents[{number}] must be a string, got {_json_kind(text)}.")
    return tuple(map(Candidate, texts))


def _parse_candidate(fields: object, location: str) -> Candidate:
    if not isinstance(fields, dict):
        raise RequestError(f'{location}: every candidate must be an object like {{"doc_id": "a", "text": "..."}}.')
    relevance = fields.get("relevance")
    judged = relevance if isinstance(relevance, (int, float)) else None
    return Candidate(take(fields, "text", str, location), _take_name(fields, "doc_id", location), judged)


_KINDS: dict[type, str] = {str: "a string", list: "a list"}


def take(fields: Mapping[str, Any], name: str, kind: type, location: str) -> Any:
    """A field that must be there, and of a kind."""
    if name not in fields:
        raise RequestError(f"{location} lacks {name!r}. A set's line is {_SET_LINE}.")
    if not isinstance(fields[name], kind):
        raise RequestError(f"{location}: {name!r} must be {_KINDS[kind]}, got {_json_kind(fields[name])}.")
    return fields[name]


_SET_LINE = (
    '{"query_id": ..., "query": ..., "instruction": optional, "candidates": [{"doc_id": ..., "text": ...}]}, or with '
    '"documents": ["...", ...] in place of the candidates'
)


def _take_name(fields: Mapping[str, Any], name: str, location: str) -> str | int | None:
    found = fields.get(name)
    if found is not None and (not isinstance(found, (str, int)) or isinstance(found, bool)):
        raise RequestError(f"{location}: {name!r} must be a string or a whole number, got {_json_kind(found)}.")
    return found


def _json_kind(value: object) -> str:
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")
