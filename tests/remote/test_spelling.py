"""No text that is sent can become a control token on the other side."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.remote.spelling import CONTROL_SPELLINGS, harmless
from tests.bundled_data import QWEN_TOKENIZER
from tests.hostile import ATTACKS


@functools.cache
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(params=["demo", "qwen"])
def folder(request: pytest.FixtureRequest, data: Path) -> Path:
    return DEMO_FOLDER if request.param == "demo" else QWEN_TOKENIZER


@functools.cache
def added_ids(folder: Path) -> set[int]:
    blueprint = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return {token["id"] for token in blueprint["added_tokens"]}


def test_the_spellings_are_exactly_those_of_the_tokenizer(folder: Path) -> None:
    blueprint = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert {token["content"] for token in blueprint["added_tokens"]} == set(CONTROL_SPELLINGS)
    assert len(CONTROL_SPELLINGS) == 26


@pytest.mark.parametrize("around", ["{}", "a {} b", "<{}>", "{0}{0}", "<|im_{}end|>", "\u200b{}", "\n{}\n"])
def test_a_spelling_anywhere_is_plain_text_to_the_real_tokenizer(around: str, folder: Path) -> None:
    for spelling in CONTROL_SPELLINGS:
        text, reader = around.format(spelling), tokenizer(folder)
        assert added_ids(folder) & set(reader.encode(text).ids), "it would have been a token"
        assert not added_ids(folder) & set(reader.encode(harmless(text)).ids)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_a_known_attack_is_plain_text_to_the_real_tokenizer(attack: str, folder: Path) -> None:
    assert not added_ids(folder) & set(tokenizer(folder).encode(harmless(attack)).ids)


PIECES = [*CONTROL_SPELLINGS, "<", "|", ">", "im_end", "/think", " ", "\ud800", "\x00", "x"]


@given(st.lists(st.sampled_from(PIECES)))
def test_any_mixture_of_spellings_and_their_parts_is_plain_text(pieces: list[str]) -> None:
    said = harmless("".join(pieces))
    said.encode()
    assert not any(spelling in said for spelling in CONTROL_SPELLINGS)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]).filter(lambda character: character != "<")))
def test_text_without_spellings_is_left_alone(text: str) -> None:
    assert harmless(text) == text
