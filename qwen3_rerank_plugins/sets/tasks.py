"""Lines of a reranking set -> what is to be ranked.

Comes in: lines, JSON objects with one query and its candidates each. Goes out: `RankingTask`s.
Must not know: files, models, scores.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.sets.lines import Line


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
        place: the file and line that it came from, where it is one line.
    """

    query: str
    candidates: tuple[Candidate, ...]
    query_id: str | int | None = None
    instruction: str | None = None
    place: str = ""


def parse_object(line: Line) -> dict[str, Any]:
    """The JSON object that a line holds."""
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{line.place} is not a JSON object. JSONL and sets hold one object on each line.")
    return found


def parse_task(line: Line) -> RankingTask:
    """The query and the candidates of a set's line."""
    fields = parse_object(line)
    candidates = take(fields, "candidates", list, line)
    return RankingTask(
        query=take(fields, "query", str, line),
        candidates=tuple(_parse_candidate(candidate, line) for candidate in candidates),
        query_id=_take_name(fields, "query_id", line),
        instruction=take(fields, "instruction", str, line) if fields.get("instruction") is not None else None,
        place=line.place,
    )


def _parse_candidate(fields: object, line: Line) -> Candidate:
    if not isinstance(fields, dict):
        raise RequestError(f'{line.place}: every candidate must be an object like {{"doc_id": "a", "text": "..."}}.')
    relevance = fields.get("relevance")
    judged = relevance if isinstance(relevance, (int, float)) else None
    return Candidate(take(fields, "text", str, line), _take_name(fields, "doc_id", line), judged)


_KINDS: dict[type, str] = {str: "a string", list: "a list"}


def take(fields: dict[str, Any], name: str, kind: type, line: Line) -> Any:
    """A field that must be there, and of a kind."""
    if name not in fields:
        raise RequestError(f"{line.place} lacks {name!r}. A set's line is {_SET_LINE}.")
    if not isinstance(fields[name], kind):
        raise RequestError(f"{line.place}: {name!r} must be {_KINDS[kind]}, got {_json_kind(fields[name])}.")
    return fields[name]


_SET_LINE = '{"query_id": ..., "query": ..., "instruction": optional, "candidates": [{"doc_id": ..., "text": ...}]}'


def _take_name(fields: dict[str, Any], name: str, line: Line) -> str | int | None:
    found = fields.get(name)
    if found is not None and (not isinstance(found, (str, int)) or isinstance(found, bool)):
        raise RequestError(f"{line.place}: {name!r} must be a string or a whole number, got {_json_kind(found)}.")
    return found


def _json_kind(value: object) -> str:
    kinds = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")
