"""The template: the one place where it is written, with control tokens and text as different types.

Comes in: query, documents and instruction. Goes out: `Prompt`, typed parts.
Must not know: ids, lengths, or which tokenizer will read the parts.

Source: the transformers example of the Qwen3-Reranker model cards (single line breaks between the fields).
"""

from __future__ import annotations

import dataclasses
import hashlib

from qwen3_rerank_plugins.engine.request import RerankRequest

SYSTEM_MESSAGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
YES, NO = "yes", "no"


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """A token inserted by its name, never by its spelling."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Characters: whatever they spell, they can only become ordinary tokens."""

    characters: str


Part = Control | Text


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One request, ready to be tokenised.

    `head + documents[i] + suffix` is the whole prompt of document i. The head ends with the colon after
    "<Document>" and each document starts with its leading space: with the Qwen pre-tokenizer a piece boundary always
    lies between the two, so tokenising them apart gives the ids of tokenising them together.
    """

    head: tuple[Part, ...]
    documents: tuple[Text, ...]
    suffix: tuple[Part, ...]


_OPENING: tuple[Part, ...] = (
    Control("<|im_start|>"),
    Text(f"system\n{SYSTEM_MESSAGE}"),
    Control("<|im_end|>"),
    Text("\n"),
    Control("<|im_start|>"),
    Text("user\n"),
)
_SUFFIX: tuple[Part, ...] = (
    Control("<|im_end|>"),
    Text("\n"),
    Control("<|im_start|>"),
    Text("assistant\n"),
    Control("<think>"),
    Text("\n\n"),
    Control("</think>"),
    Text("\n\n"),
)


def build_prompt(request: RerankRequest) -> Prompt:
    """Lay a request into the template."""
    fields = Text(f"<Instruct>: {request.instruction}\n<Query>: {request.query}\n<Document>:")
    documents = tuple(Text(f" {document}") for document in request.documents)
    return Prompt((*_OPENING, fields), documents, _SUFFIX)


def template_hash() -> str:
    """Twelve hex digits that change whenever a character of the template does; shown by `doctor`."""
    fields = Text("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}")
    return hashlib.sha256(repr((*_OPENING, fields, *_SUFFIX)).encode()).hexdigest()[:12]
