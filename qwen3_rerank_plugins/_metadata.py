"""Write reranking results into metadata, and copy the metadata first. Both adapters use this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_rerank_plugins.engine.ranking import RankedDocument

TRUNCATED_TOKENS = "truncated_tokens"
RELEVANT_START = "relevant_start"
RELEVANT_END = "relevant_end"
STALE = frozenset({TRUNCATED_TOKENS, RELEVANT_START, RELEVANT_END, "relevant_span"})
"""Keys of an earlier reranking, which are removed. Version 0.1.0 wrote the last one."""


def reading_notes(found: RankedDocument, own: str) -> dict[str, int]:
    """Return which part of a document was scored, as plain numbers that any store accepts.

    Args:
        found: the ranked document.
        own: its text, without the metadata that the model may have read before it.

    Returns:
        "truncated_tokens" if its end was cut; "relevant_start" and "relevant_end", in characters of `own`, if it was
        read in windows.
    """
    notes = {TRUNCATED_TOKENS: found.truncated_tokens} if found.truncated_tokens else {}
    span = found.span_within(own)
    return notes | (dict(zip((RELEVANT_START, RELEVANT_END), span, strict=True)) if span else {})


def copied(metadata: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return a copy whose dicts, lists, sets and tuples are copies at every depth.

    Other objects are shared, because they may be large or impossible to copy, such as a lock or an open file.
    """
    return {name: _copied(value, {}) for name, value in (metadata or {}).items()}


def _copied(value: Any, done: dict[int, Any]) -> Any:
    if id(value) in done:  # metadata may contain itself
        return done[id(value)]
    if type(value) is dict:
        made: Any = done.setdefault(id(value), {})
        made.update((name, _copied(part, done)) for name, part in value.items())
        return made
    if type(value) is list:
        made = done.setdefault(id(value), [])
        made.extend(_copied(part, done) for part in value)
        return made
    if type(value) is tuple:
        return tuple(_copied(part, done) for part in value)
    return set(value) if type(value) is set else value
