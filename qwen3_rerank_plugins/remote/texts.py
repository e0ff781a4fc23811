"""Turn a request into the texts to send: with or without the prompt template, and without control tokens."""

from __future__ import annotations

import dataclasses
import re

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import CONTROL_TOKENS, build_prompt, spell_out
from qwen3_rerank_plugins.engine.text.tokenizer import well_formed
from qwen3_rerank_plugins.remote.settings import Template

_CONTROL_TOKEN = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))
"""The added tokens of the Qwen3-Reranker tokenizers of all sizes. None occurs within another, so none can overlap."""


@dataclasses.dataclass(frozen=True, slots=True)
class RequestTexts:
    """The texts of one request.

    Attributes:
        query: the query, or the prompt up to the end of the query.
        documents: the distinct documents, or the rest of the prompt for each of them.
        instruction: what relevant means; None where `query` contains it.
        text_indices: for each document of the request, the position of its text; None for a blank document.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    text_indices: tuple[int | None, ...] = ()


def request_texts(request: RerankRequest, template: Template) -> RequestTexts:
    """Return the texts of a request. Blank documents are omitted, and equal documents appear once.

    Args:
        request: the query and its documents.
        template: who applies the template. "client" splits each prompt in two, so that a server which joins the query
            and a document gets the whole prompt. The second half begins with the line of the document.
    """
    positions: dict[str, int] = {}
    text_indices = tuple(
        positions.setdefault(harmless(document), len(positions)) if document.strip() else None
        for document in request.documents
    )
    plain = dataclasses.replace(
        request,
        query=harmless(request.query),
        instruction=harmless(request.instruction),
        documents=tuple(positions),
    )
    if template == "server":
        return RequestTexts(plain.query, plain.documents, plain.instruction, text_indices)
    prompt = build_prompt(plain)
    head, line_break, opening = spell_out(prompt.head).rpartition("\n")
    ending = spell_out(prompt.suffix)
    halves = tuple(f"{opening}{document.characters}{ending}" for document in prompt.documents)
    return RequestTexts(head + line_break, halves, None, text_indices)


def harmless(text: str) -> str:
    """Return the text with a space in each control token, and without surrogates that JSON cannot encode."""
    return _CONTROL_TOKEN.sub(lambda token: f"< {token[0][1:]}", well_formed(text))
