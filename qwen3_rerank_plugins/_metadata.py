"""Copies of metadata, and the entries that both adapters add to the metadata of a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_rerank_plugins._fallback import FAILURE_KEY
from qwen3_rerank_plugins.engine.ranking import RankedDocument

_FROM_RERANKING = frozenset({"truncated_tokens", "relevant_start", "relevant_end", "relevant_span", FAILURE_KEY})
"""Entries of an earlier reranking, which are wrong after another one; only version 0.1.0 wrote the last."""


def coverage(found: RankedDocument, own_text: str) -> dict[str, int]:
    """Return which part of a document its score covers, as plain numbers that any store takes.

    Args:
        found: the ranked document.
        own_text: the document's text without the metadata that the model may have read before it.

    Returns:
        "truncated_tokens" if the document's end was cut; "relevant_start" and "relevant_end", characters of
        `own_text`, if the document was read in windows.
    """
    entries = {"truncated_tokens": found.truncated_tokens} if found.truncated_tokens else {}
    if span := found.span_within(own_text):
        entries["relevant_start"], entries["relevant_end"] = span
    return entries


def annotated(metadata: Mapping[Any, Any] | None, entries: Mapping[str, Any]) -> dict[Any, Any]:
    """Return a copy of metadata with new entries, and without those of an earlier reranking."""
    return {name: value for name, value in copied(metadata).items() if name not in _FROM_RERANKING} | dict(entries)


def copied(metadata: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return a copy whose dicts, lists, sets and tuples are copies at every depth.

    All other objects are shared, because they may be large or impossible to copy, such as a lock or an open file.
    """
    return {name: _copied(value, {}) for name, value in (metadata or {}).items()}


def _copied(value: Any, done: dict[int, Any]) -> Any:
    if id(value) in done:  # a container may contain itself
        return done[id(value)]
    if type(value) is dict:
        result: Any = done.setdefault(id(value), {})
        result.update((name, _copied(part, done)) for name, part in value.items())
        return result
    if type(value) is list:
        result = done.setdefault(id(value), [])
        result.extend(_copied(part, done) for part in value)
        return result
    if type(value) is tuple:
        return tuple(_copied(part, done) for part in value)
    return set(value) if type(value) is set else value
