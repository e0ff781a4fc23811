"""A request -> the texts that a server is sent, in the template or out of it.

Comes in: `RerankRequest`. Goes out: `RequestTexts`.
Must not know: dialects, HTTP. What the template says stands in `engine/text/template.py` and nowhere else.
"""

from __future__ import annotations

import dataclasses
import re

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import CONTROL_TOKENS, build_prompt, spell_out
from qwen3_rerank_plugins.engine.text.tokenizer import well_formed
from qwen3_rerank_plugins.remote.settings import Template


@dataclasses.dataclass(frozen=True, slots=True)
class RequestTexts:
    """What a server is sent.

    Attributes:
        query: the query, or the template up to its end.
        documents: different documents, or their ends of the template.
        instruction: what relevant means; None where the query already says it.
        places: for each document of the request, the position of its text; None for one with nothing to read.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    text_indices: tuple[int | None, ...] = ()


def request_texts(request: RerankRequest, template: Template) -> RequestTexts:
    """The texts of a request, neutralised; those of its documents that hold anything, each once.

    Args:
        request: what was asked.
        template: who applies the template. The "client" sends the two halves of each prompt, so that a server which
            joins them has the whole: the second one begins with the line of the document.
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


CONTROL_SPELLINGS = CONTROL_TOKENS
"""The added tokens of the Qwen3-Reranker tokenizers, all sizes. None occurs within another, so none can overlap."""

_SPELLED = re.compile("|".join(map(re.escape, CONTROL_SPELLINGS)))


def harmless(text: str) -> str:
    """The text with every spelling of a control token broken, and as well formed as JSON needs it."""
    return _SPELLED.sub(lambda spelled: f"< {spelled[0][1:]}", well_formed(text))
