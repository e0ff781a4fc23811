"""A node that may be changed without a change to the one it was copied from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, RelatedNodeInfo
from pydantic import BaseModel

from qwen3_rerank_plugins._metadata import STALE, copied

_OWN = ("embedding", "text_embedding")
"""Fields that hold a list of floats. A slice copies them a hundred times faster than a walk through them."""


def copy_with_notes(node: BaseNode, notes: Mapping[str, Any]) -> BaseNode:
    """A copy with the id and class of the node, and with notes that no model gets to read.

    Text is shared, as strings cannot be changed. Containers are copied at every depth; the object of an `IndexNode` and
    objects in the metadata are shared.
    """
    fields = {name: _copied(name, value) for name, value in node.__dict__.items()}
    fields["metadata"] = {name: value for name, value in fields["metadata"].items() if name not in STALE} | dict(notes)
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        fields[name] = list(dict.fromkeys([*fields[name], *notes]))
    return node.model_copy(update=fields)


def _copied(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return value[:] if name in _OWN else copied({name: value})[name]
    if name == "relationships":
        return {kind: _related(others) for kind, others in value.items()}
    if isinstance(value, dict):
        return copied(value)
    return _resource(value) if name.endswith("_resource") and isinstance(value, BaseModel) else value


def _related(others: RelatedNodeInfo | list[RelatedNodeInfo]) -> RelatedNodeInfo | list[RelatedNodeInfo]:
    if isinstance(others, list):
        return [other.model_copy(update={"metadata": copied(other.metadata)}) for other in others]
    return others.model_copy(update={"metadata": copied(others.metadata)})


def _resource(media: BaseModel) -> BaseModel:
    """The text or the image of a multimodal node, with embeddings of its own."""
    embeddings: dict[str, list[float]] | None = getattr(media, "embeddings", None)
    return media.model_copy(
        update={"embeddings": embeddings and {kind: values[:] for kind, values in embeddings.items()}}
    )
