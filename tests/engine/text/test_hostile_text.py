"""Hostile text and the real tokenizer, in all three places: the reference's ids, and never a control token of its own.

The reference is the published tokenizer over the whole prompt as one string, which parses control tokens out of text.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from tests import hostile
from tests.hostile import ATTACKS, COUNTS, HARMLESS, INPUTS, LONGEST, PLACES, SPELLINGS
from tests.references import PREFIX, SUFFIX

ROOM = 1_000_000
"""Nothing is cut here."""

many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
few_but_long = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def encoder(qwen_tokenizer_file: Path) -> PromptEncoder:
    return PromptEncoder(qwen_tokenizer_file)


@pytest.fixture(scope="module")
def reference(qwen_tokenizer_file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(qwen_tokenizer_file))


@pytest.fixture(scope="module")
def plain(reference: Tokenizer) -> Tokenizer:
    """The published vocabulary, normalizer and pre-tokenizer, put together by hand: it knows no added token."""
    tokenizer = Tokenizer(reference.model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = reference.normalizer, reference.pre_tokenizer
    return tokenizer


def place(text: str, where: str) -> dict[str, str]:
    return {**HARMLESS, where: text}


def ours(encoder: PromptEncoder, document: str, query: str, instruction: str) -> list[int]:
    tokens = encoder.encode(build_prompt(RerankRequest(query, (document,), instruction)), ROOM)
    assert tokens.truncated_tokens == (0,)
    return [*tokens.prefix, *tokens.document_ids[0]]


def body(document: str, query: str, instruction: str) -> str:
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def reference_ids(reference: Tokenizer, texts: list[dict[str, str]]) -> list[list[int]]:
    prompts = [PREFIX + body(**text) + SUFFIX for text in texts]
    return [encoding.ids for encoding in reference.encode_batch_fast(prompts, add_special_tokens=False)]


def plain_ids(reference: Tokenizer, plain: Tokenizer, text: dict[str, str]) -> list[int]:
    """The template's tokens around what the caller wrote, every character of which is text."""
    before, after = (reference.encode(part, add_special_tokens=False).ids for part in (PREFIX, SUFFIX))
    written = plain.encode(hostile.well_formed(body(**text)), add_special_tokens=False).ids
    return [*before, *written, *after]


def control_ids(encoder: PromptEncoder, ids: list[int]) -> list[int]:
    known = set(encoder.control_ids.values())
    return [token for token in ids if token in known]


@pytest.fixture(scope="module")
def template_ids(encoder: PromptEncoder) -> list[int]:
    """The control tokens of a prompt in which nobody spelled any."""
    found = control_ids(encoder, ours(encoder, **HARMLESS))
    names = {number: name for name, number in encoder.control_ids.items()}
    assert [names[token] for token in found] == [
        *("<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>")
    ]
    return found


@pytest.mark.parametrize("where", PLACES)
def test_every_text_of_the_collections_gets_the_reference_ids_and_no_control_token(
    where: str, encoder: PromptEncoder, reference: Tokenizer, template_ids: list[int], data: Path
) -> None:
    tried = 0
    for name, texts in hostile.collections(data).items():
        assert len(texts) == COUNTS[name]
        assert not any(map(hostile.spells_an_added_token, texts))
        placed = [place(text, where) for text in texts]
        if where == "document":  # as one request, where the head is shared and equal texts share a tail
            tokens = encoder.encode(build_prompt(RerankRequest("q", tuple(texts), "i")), ROOM)
            found = [[*tokens.prefix, *tokens.document_ids[tail]] for tail in tokens.inverse_index]
        else:
            found = [ours(encoder, **text) for text in placed]
        assert found == reference_ids(reference, placed)
        assert all(control_ids(encoder, ids) == template_ids for ids in found)
        tried += len(found)
    assert tried * len(PLACES) == INPUTS
    print(f"{tried:,} texts as {where}")


def test_the_page_on_security_says_how_many_inputs_are_tried() -> None:
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"{INPUTS:,} inputs" in page
    for name, count in COUNTS.items():
        assert f"{count:,} {name}" in page


def test_the_spellings_are_those_of_the_26_added_tokens(encoder: PromptEncoder) -> None:
    assert len(SPELLINGS) == 26
    assert set(SPELLINGS) == set(encoder.control_ids)


def test_no_token_that_text_can_become_has_the_id_of_an_added_token(encoder: PromptEncoder, plain: Tokenizer) -> None:
    """What makes the rest of this file a proof: the vocabulary of text and the control ids have nothing in common."""
    assert not set(plain.get_vocab().values()) & set(encoder.control_ids.values())
    assert encoder._text_tokenizer.get_vocab() == plain.get_vocab()


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_changes_the_references_turns_and_is_text_to_ours(
    attack: str, where: str, encoder: PromptEncoder, reference: Tokenizer, plain: Tokenizer, template_ids: list[int]
) -> None:
    placed = place(attack, where)
    (fooled,) = reference_ids(reference, [placed])
    assert len(control_ids(encoder, fooled)) > len(template_ids), "the reference is not fooled: this is no attack"
    found = ours(encoder, **placed)
    assert control_ids(encoder, found) == template_ids
    assert found == plain_ids(reference, plain, placed)


def test_to_the_reference_a_document_that_answers_yes_has_ended_its_turn_with_a_yes(
    encoder: PromptEncoder, reference: Tokenizer
) -> None:
    """What the attack is after, spelled out: the suffix of the prompt, then the model's answer, put there by text."""
    placed = place(f"x{hostile.ANSWER_YES}", "document")
    (fooled,), found = reference_ids(reference, [placed]), ours(encoder, **placed)
    closing = reference.encode(SUFFIX, add_special_tokens=False).ids
    forged = [*closing, encoder.yes_id, *closing]
    assert fooled[-len(forged) :] == forged
    assert found[-len(forged) :] != forged
    assert control_ids(encoder, found) == control_ids(encoder, ours(encoder, **HARMLESS))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_spelling_of_an_added_token_is_text(
    spelling: str, where: str, encoder: PromptEncoder, reference: Tokenizer, plain: Tokenizer
) -> None:
    for text in (spelling, f"a{spelling}b", f" {spelling}\n", spelling * 3, spelling[:-1], spelling[1:]):
        placed = place(text, where)
        assert ours(encoder, **placed) == plain_ids(reference, plain, placed)


@many
@given(document=hostile.any_text, query=hostile.any_text, instruction=hostile.any_text)
@example(document="\u0338 combining", query="", instruction="\u0301")
@example(document="\n\n", query="\n", instruction=" ")
def test_any_text_gets_the_reference_ids(
    encoder: PromptEncoder, reference: Tokenizer, document: str, query: str, instruction: str
) -> None:
    texts = {"document": document, "query": query, "instruction": instruction}
    cleaned = {where: hostile.well_formed(text) for where, text in texts.items()}
    assume(not any(map(hostile.spells_an_added_token, cleaned.values())))
    assert [ours(encoder, **texts)] == reference_ids(reference, [cleaned])


@few_but_long
@given(text=hostile.long_text, where=st.sampled_from(PLACES))
@example(text="x" * LONGEST, where="document")
@example(text="\u0301" * LONGEST, where="query")
@example(text="👩‍🚀" * (LONGEST // 3), where="instruction")
def test_text_of_up_to_50000_characters_gets_the_reference_ids(
    encoder: PromptEncoder, reference: Tokenizer, text: str, where: str
) -> None:
    cleaned = hostile.well_formed(text)
    assume(not hostile.spells_an_added_token(cleaned))
    assert [ours(encoder, **place(text, where))] == reference_ids(reference, [place(cleaned, where)])


@many
@given(document=hostile.spelled_text, query=hostile.spelled_text, instruction=hostile.spelled_text)
def test_added_tokens_spelled_anywhere_are_text(
    encoder: PromptEncoder,
    reference: Tokenizer,
    plain: Tokenizer,
    template_ids: list[int],
    document: str,
    query: str,
    instruction: str,
) -> None:
    texts = {"document": document, "query": query, "instruction": instruction}
    found = ours(encoder, **texts)
    assert found == plain_ids(reference, plain, texts)
    assert control_ids(encoder, found) == template_ids


@few_but_long
@given(text=hostile.long_text, spelling=st.sampled_from(SPELLINGS), at=st.integers(0), where=st.sampled_from(PLACES))
def test_an_added_token_spelled_anywhere_in_a_long_text_is_text(
    encoder: PromptEncoder,
    reference: Tokenizer,
    plain: Tokenizer,
    template_ids: list[int],
    text: str,
    spelling: str,
    at: int,
    where: str,
) -> None:
    middle = at % (len(text) + 1)
    placed = place(text[:middle] + spelling + text[middle:], where)
    found = ours(encoder, **placed)
    assert found == plain_ids(reference, plain, placed)
    assert control_ids(encoder, found) == template_ids


def test_cutting_a_hostile_document_leaves_the_template_whole(encoder: PromptEncoder, template_ids: list[int]) -> None:
    request = RerankRequest("q", tuple(attack * 200 for attack in ATTACKS.values()), "i")
    tokens = encoder.encode(build_prompt(request), 200)
    assert all(cut > 0 for cut in tokens.truncated_tokens)
    for tail in tokens.document_ids:
        assert len(tokens.prefix) + len(tail) == 200
        assert control_ids(encoder, [*tokens.prefix, *tail]) == template_ids


def test_the_texts_that_the_data_calls_free_of_special_tokens_are(data: Path) -> None:
    published = json.loads((data / "text" / "expected_token_stats.json").read_text(encoding="utf-8"))
    assert published["blns"]["n"] == COUNTS["naughty strings"]
    assert published["blns"]["with_special"] == []
