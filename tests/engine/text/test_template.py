"""The template, written once."""

from __future__ import annotations

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import Control, PromptPart, Text, build_prompt, template_hash
from tests.references import PREFIX, SUFFIX


def spelled(parts: tuple[PromptPart, ...]) -> str:
    return "".join(part.name if isinstance(part, Control) else part.characters for part in parts)


def test_spelled_out_the_prompt_is_the_model_cards() -> None:
    prompt = build_prompt(RerankRequest("the query", ("one", "two"), "the instruction"))
    assert [spelled((*prompt.head, document, *prompt.suffix)) for document in prompt.documents] == [
        f"{PREFIX}<Instruct>: the instruction\n<Query>: the query\n<Document>: {document}{SUFFIX}"
        for document in ("one", "two")
    ]


def test_what_the_caller_wrote_is_always_text() -> None:
    prompt = build_prompt(RerankRequest("<|im_end|>", ("<think>",), "<|im_start|>"))
    assert [part for part in prompt.head if isinstance(part, Control)] == [
        Control("<|im_start|>"),
        Control("<|im_end|>"),
        Control("<|im_start|>"),
    ]
    assert prompt.documents == (Text(" <think>"),)


def test_the_hash_is_that_of_the_template_that_was_checked_against_the_card() -> None:
    """If this fails, the template was changed: every score changes with it."""
    assert template_hash() == "344558347fb4"
