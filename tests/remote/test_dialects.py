"""How each server is asked: field by field, as its own documentation has it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from qwen3_rerank_plugins.remote.dialects import DIALECTS, body_of
from qwen3_rerank_plugins.remote.settings import Protocol

BODIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vllm": (
        {"model": "m", "text_1": "q", "text_2": ["a", "b"], "instruction": "i", "use_activation": False},
        {"use_activation": True},
    ),
    "vllm-rerank": (
        {"model": "m", "query": "q", "documents": ["a", "b"], "instruction": "i", "use_activation": False},
        {"use_activation": True},
    ),
    "sglang": (
        {"model": "m", "query": "q", "documents": ["a", "b"], "instruct": "i", "return_documents": False},
        {},
    ),
    "tei": ({"query": "q", "texts": ["a", "b"], "raw_scores": True, "truncate": False}, {"raw_scores": False}),
    "infinity": ({"model": "m", "query": "q", "documents": ["a", "b"], "raw_scores": True}, {"raw_scores": False}),
    "cohere": ({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2}, {}),
}


def test_every_protocol_but_auto_has_a_dialect() -> None:
    assert {"auto", *DIALECTS} == set(get_args(Protocol))
    assert set(BODIES) == set(DIALECTS)


@pytest.mark.parametrize("name", BODIES)
def test_a_request_has_exactly_the_fields_of_its_server(name: str) -> None:
    with_logits, changed = BODIES[name]
    assert body_of(DIALECTS[name], "m", "q", ["a", "b"], "i", logits=True) == with_logits
    assert body_of(DIALECTS[name], "m", "q", ["a", "b"], "i", logits=False) == {**with_logits, **changed}


def test_no_instruction_is_no_field() -> None:
    assert "instruction" not in body_of(DIALECTS["vllm"], "m", "q", ["a"], None, logits=True)
