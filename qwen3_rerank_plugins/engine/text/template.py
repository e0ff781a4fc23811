"""The prompt template, with control tokens and text as different types.

Source: the transformers example of the Qwen3-Reranker model cards (single line breaks between the fields).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

from qwen3_rerank_plugins.engine.request import RerankRequest

SYSTEM_MESSAGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
YES, NO = "yes", "no"

CONTROL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
"""The 26 added tokens of the published Qwen3-Reranker tokenizers. No text may become one, special or not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """A control token, looked up by name and never tokenized from text."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Characters that can only become ordinary tokens, whatever they spell."""

    characters: str


PromptPart = Control | Text


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One request as typed parts.

    `head + documents[i] + suffix` is the whole prompt of document i. The head ends with `DOCUMENT_LINE`, and each
    document starts with a space.
    """

    head: tuple[PromptPart, ...]
    documents: tuple[Text, ...]
    suffix: tuple[PromptPart, ...]


_OPENING: tuple[PromptPart, ...] = (
    Control("<|im_start|>"),
    Text(f"system\n{SYSTEM_MESSAGE}"),
    Control("<|im_end|>"),
    Text("\n"),
    Control("<|im_start|>"),
    Text("user\n"),
)
_SUFFIX: tuple[PromptPart, ...] = (
    Control("<|im_end|>"),
    Text("\n"),
    Control("<|im_start|>"),
    Text("assistant\n"),
    Control("<think>"),
    Text("\n\n"),
    Control("</think>"),
    Text("\n\n"),
)
DOCUMENT_LINE = "\n<Document>:"
"""The end of every head. A space and the document follow."""


def build_prompt(request: RerankRequest) -> Prompt:
    """Fill the template with a request."""
    fields = Text(f"<Instruct>: {request.instruction}\n<Query>: {request.query}{DOCUMENT_LINE}")
    documents = tuple(Text(f" {document}") for document in request.documents)
    return Prompt((*_OPENING, fields), documents, _SUFFIX)


def spell_out(parts: Iterable[PromptPart]) -> str:
    """Return the parts as one string, with control tokens as text."""
    return "".join(part.name if isinstance(part, Control) else part.characters for part in parts)


def template_hash() -> str:
    """Return twelve hex digits that change with every character of the template; `doctor` shows them."""
    fields = Text("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}")
    return hashlib.sha256(repr((*_OPENING, fields, *_SUFFIX)).encode()).hexdigest()[:12]
