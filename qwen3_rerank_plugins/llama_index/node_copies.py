"""Copies of nodes that can be changed without changing the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, RelatedNodeInfo
from pydantic import BaseModel

from qwen3_rerank_plugins._metadata import annotated, copied

_EMBEDDINGS = ("embedding", "text_embedding")
"""Fields with a list of floats, which a slice copies a hundred times faster than a walk through the list."""


def annotated_copy(node: BaseNode, entries: Mapping[str, Any]) -> BaseNode:
    """Return a copy with the id and class of the node, and with more metadata that no model reads.

    Containers are copied at every depth. The object of an `IndexNode` and objects in the metadata are shared.
    """
    fields = {name: _copied(name, value) for name, value in node.__dict__.items() if name != "metadata"}
    fields["metadata"] = annotated(node.metadata, entries)
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        fields[name] = list(dict.fromkeys([*fields[name], *entries]))
    return node.model_copy(update=fields)


def _copied(name: str, value: Any) -> Any:
    if name == "relationships":
        return {kind: _copied_relation(others) for kind, others in value.items()}
    if isinstance(value, list):
        return value[:] if name in _EMBEDDINGS else copied({name: value})[name]
    if isinstance(value, dict):
        return copied(value)
    return _copied_resource(value) if name.endswith("_resource") and isinstance(value, BaseModel) else value


def _copied_relation(others: RelatedNodeInfo | list[RelatedNodeInfo]) -> RelatedNodeInfo | list[RelatedNodeInfo]:
    if isinstance(others, list):
        return [other.model_copy(update={"metadata": copied(other.metadata)}) for other in others]
    return others.model_copy(update={"metadata": copied(others.metadata)})


def _copied_resource(media: BaseModel) -> BaseModel:
    """Copy the text or the image of a multimodal node, which has embeddings."""
    embeddings: dict[str, list[float]] | None = getattr(media, "embeddings", None)
    return media.model_copy(
        update={"embeddings": embeddings and {kind: values[:] for kind, values in embeddings.items()}}
    )
