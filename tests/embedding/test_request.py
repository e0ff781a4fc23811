"""Requests are checked before any model is looked for."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request, query_prompt
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import InputTypeError, RequestError, SettingsError
from tests.embedding_checkpoints import QUERY_PROMPT


def test_the_default_prompt_is_the_one_that_the_published_checkpoints_carry() -> None:
    assert query_prompt(None) == QUERY_PROMPT
    assert DEFAULT_INSTRUCTION in QUERY_PROMPT


def test_an_instruction_takes_the_place_of_the_default_one() -> None:
    assert query_prompt("Find recipes") == "Instruct: Find recipes\nQuery:"
    assert query_prompt("") == "Instruct: \nQuery:"
    assert query_prompt("Find \ud800") == "Instruct: Find \ufffd\nQuery:"


def test_texts_are_kept_as_they_are_except_for_lone_surrogates() -> None:
    texts = ["", " two  spaces ", "NUL \0", "👩\u200d🚀", "lone \ud83d", "pair \ud83d\ude80"]
    kept = make_request(iter(texts), EmbeddingOptions()).texts
    assert kept == (*texts[:4], "lone \ufffd", "pair 🚀")


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("one text", RequestError, r"wrap it in a list: \[text\]"),
        (b"bytes", RequestError, "wrap it"),
        (["a", None], InputTypeError, r"texts\[1\] must be a string, got None"),
        ([b"a"], InputTypeError, r"texts\[0\] must be a string, got bytes. Decode it first"),
        ([3], InputTypeError, "got int"),
        (7, InputTypeError, "iterable of strings, got int"),
    ],
)
def test_what_is_not_text_is_refused_with_its_position(texts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_request(texts, EmbeddingOptions())


@pytest.mark.parametrize("name", ["max_length", "truncate_dim", "batch_size"])
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "8"])
def test_a_number_that_is_not_a_positive_whole_one_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be a positive whole number"):
        EmbeddingOptions(**{name: wrong})
