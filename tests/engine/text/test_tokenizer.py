"""Ids: equal to what is published, cut from the document's end only; `test_hostile_text` is about any text at all."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, RerankRequest
from qwen3_rerank_plugins.engine.text import tokenizer as tokens_module
from qwen3_rerank_plugins.engine.text.template import Text, build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest, well_formed
from qwen3_rerank_plugins.errors import NoRoomError, RerankTimeoutError, UnsupportedCheckpointError
from tests.references import PREFIX, SUFFIX


@pytest.fixture(scope="module")
def encoder(qwen_tokenizer_file: Path) -> PromptEncoder:
    return PromptEncoder(qwen_tokenizer_file)


@pytest.fixture(scope="module")
def reference(qwen_tokenizer_file: Path) -> Tokenizer:
    """The tokenizer as published, which parses control tokens out of text."""
    return Tokenizer.from_file(str(qwen_tokenizer_file))


def whole_prompt(tokens: TokenizedRequest, document: int = 0) -> list[int]:
    return [*tokens.prefix, *tokens.document_ids[tokens.inverse_index[document]]]


def encode(encoder: PromptEncoder, query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> list[int]:
    request = RerankRequest(query, (document,), instruction)
    return whole_prompt(encoder.encode(build_prompt(request), max_length=1_000_000))


def reference_ids(reference: Tokenizer, query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> list[int]:
    body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    return reference.encode(PREFIX + body + SUFFIX, add_special_tokens=False).ids


def test_the_twelve_golden_prompts_come_out_id_for_id(encoder: PromptEncoder, golden: dict[str, Any]) -> None:
    assert len(golden["reranker_prompts"]) == 12
    for prompt in golden["reranker_prompts"]:
        assert encode(encoder, prompt["query"], prompt["document"], prompt["instruction"]) == prompt["input_ids"]


def test_the_forty_three_public_vectors_come_out_id_for_id(encoder: PromptEncoder, golden: dict[str, Any]) -> None:
    assert len(golden["llama_cpp_vectors"]) == 43
    for vector in golden["llama_cpp_vectors"]:
        assert encoder._encode_text(vector["text"]) == vector["ids"]


def test_prefix_and_suffix_are_the_published_ids(encoder: PromptEncoder, golden: dict[str, Any]) -> None:
    tokens = encoder.encode(build_prompt(RerankRequest("query", ("document",))), 8192)
    assert list(tokens.prefix[: len(golden["prefix_ids"])]) == golden["prefix_ids"]
    assert list(tokens.document_ids[0][-len(golden["suffix_ids"]) :]) == golden["suffix_ids"]


def test_yes_and_no_are_the_published_tokens(encoder: PromptEncoder, golden: dict[str, Any]) -> None:
    assert (encoder.yes_id, encoder.no_id) == (golden["specials"]["yes"], golden["specials"]["no"]) == (9693, 2152)


def test_token_counts_of_the_declarations_are_the_published_ones(encoder: PromptEncoder, data: Path) -> None:
    expected = json.loads((data / "text" / "expected_token_stats.json").read_text(encoding="utf-8"))["udhr"]
    rows = map(json.loads, (data / "text" / "udhr_multiscript.jsonl").read_text(encoding="utf-8").splitlines())
    assert {row["key"]: len(encoder._encode_text(row["text"])) for row in rows} == {
        key: found["tokens"] for key, found in expected.items()
    }


def test_lone_surrogates_become_replacement_characters(encoder: PromptEncoder) -> None:
    assert encode(encoder, "\ud800", "x\udc00y") == encode(encoder, "\ufffd", "x\ufffdy")


def test_surrogate_pairs_are_joined_into_their_character(encoder: PromptEncoder) -> None:
    assert encode(encoder, "q", "\ud83d\ude00") == encode(encoder, "q", "\U0001f600")


def test_nul_characters_are_kept(encoder: PromptEncoder, reference: Tokenizer) -> None:
    assert encode(encoder, "a\0b", "\0") == reference_ids(reference, "a\0b", "\0")


def test_unnormalised_text_is_normalised_as_the_reference_does(encoder: PromptEncoder) -> None:
    assert encode(encoder, "q", "e\u0301") == encode(encoder, "q", "\u00e9")


def test_only_the_document_is_cut_and_only_from_its_end(encoder: PromptEncoder) -> None:
    request = RerankRequest("query", ("one two three " * 50, "short"))
    whole = encoder.encode(build_prompt(request), 8192)
    cut = encoder.encode(build_prompt(request), 100)
    suffix = whole.document_ids[0][-9:]
    assert cut.prefix == whole.prefix
    assert len(cut.prefix) + len(cut.document_ids[0]) == 100
    assert cut.document_ids[0][-9:] == suffix
    assert cut.document_ids[0][:-9] == whole.document_ids[0][: len(cut.document_ids[0]) - 9]
    assert cut.truncated_tokens == (len(whole.document_ids[0]) - len(cut.document_ids[0]), 0)
    assert whole.truncated_tokens == (0, 0)
    assert cut.document_ids[1] == whole.document_ids[1]


def test_a_document_that_fits_exactly_is_not_cut(encoder: PromptEncoder) -> None:
    prompt = build_prompt(RerankRequest("query", ("some words",)))
    length = len(whole_prompt(encoder.encode(prompt, 8192)))
    assert encoder.encode(prompt, length).truncated_tokens == (0,)
    assert encoder.encode(prompt, length - 1).truncated_tokens == (1,)


def test_a_query_that_leaves_no_room_is_an_error_with_the_numbers(encoder: PromptEncoder) -> None:
    prompt = build_prompt(RerankRequest("word " * 50_000, ("document",)))
    taken = len(encoder.encode(prompt, 1_000_000).prefix) + 9
    with pytest.raises(NoRoomError, match=rf"take {taken} tokens and max_length is 8192.*at least {taken + 1}"):
        encoder.encode(prompt, 8192)
    assert len(whole_prompt(encoder.encode(prompt, taken + 1))) == taken + 1


def test_identical_documents_share_a_tail(encoder: PromptEncoder) -> None:
    tokens = encoder.encode(build_prompt(RerankRequest("q", ("a", "b", "a", "a"))), 8192)
    assert tokens.inverse_index == (0, 1, 0, 0)
    assert len(tokens.document_ids) == 2


def test_documents_that_differ_only_beyond_the_cut_share_a_tail_but_not_their_receipt(encoder: PromptEncoder) -> None:
    tokens = encoder.encode(build_prompt(RerankRequest("q", ("x " * 100 + "a", "x " * 100 + "a b c"))), 100)
    assert tokens.inverse_index == (0, 0)
    assert tokens.truncated_tokens[1] == tokens.truncated_tokens[0] + 2


def rewritten(file: Path, folder: Path, change: Any) -> Path:
    blueprint = json.loads(file.read_text(encoding="utf-8"))
    change(blueprint)
    copy = folder / "tokenizer.json"
    copy.write_text(json.dumps(blueprint), encoding="utf-8")
    return copy


def test_a_tokenizer_whose_yes_is_two_tokens_is_refused(qwen_tokenizer_file: Path, tmp_path: Path) -> None:
    def forget_yes(blueprint: dict[str, Any]) -> None:
        merges = blueprint["model"]["merges"]
        blueprint["model"]["merges"] = [merge for merge in merges if "".join(merge).replace(" ", "") != "yes"]

    with pytest.raises(UnsupportedCheckpointError, match="splits 'yes' into 2 tokens"):
        PromptEncoder(rewritten(qwen_tokenizer_file, tmp_path, forget_yes))


def test_a_tokenizer_without_a_control_token_of_the_template_is_refused(
    qwen_tokenizer_file: Path, tmp_path: Path
) -> None:
    def forget_think(blueprint: dict[str, Any]) -> None:
        blueprint["added_tokens"] = [token for token in blueprint["added_tokens"] if token["content"] != "<think>"]

    encoder = PromptEncoder(rewritten(qwen_tokenizer_file, tmp_path, forget_think))
    with pytest.raises(UnsupportedCheckpointError, match="no control token '<think>'"):
        encoder.encode(build_prompt(RerankRequest("q", ("d",))), 8192)


def test_a_tokenizer_whose_text_can_form_a_control_token_is_refused(qwen_tokenizer_file: Path, tmp_path: Path) -> None:
    def make_a_word_a_control_token(blueprint: dict[str, Any]) -> None:
        blueprint["added_tokens"][0].update(content="yes", id=9693)

    with pytest.raises(UnsupportedCheckpointError, match="plain text can form the control token 'yes'"):
        PromptEncoder(rewritten(qwen_tokenizer_file, tmp_path, make_a_word_a_control_token))


def test_a_broken_tokenizer_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match="not a usable fast tokenizer"):
        PromptEncoder(tmp_path / "tokenizer.json")


def test_control_parts_and_text_parts_of_the_same_spelling_differ(encoder: PromptEncoder) -> None:
    prompt = build_prompt(RerankRequest("q", ("d",)))
    faked = dataclasses.replace(prompt, head=(Text("<|im_start|>"), *prompt.head[1:]))
    assert encoder.encode(faked, 8192).prefix[0] != encoder.encode(prompt, 8192).prefix[0] == 151644


def test_the_tokenizer_of_the_test_data_is_the_published_one(qwen_tokenizer_file: Path, golden: dict[str, Any]) -> None:
    assert hashlib.sha256(qwen_tokenizer_file.read_bytes()).hexdigest() == golden["tokenizer_json_sha256"]


@given(st.lists(st.text(max_size=60), max_size=30))
def test_texts_are_encoded_some_at_a_time_and_none_is_lost(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_module, "_CHARACTERS_AT_ONCE", 50)
        patch.setattr("os.cpu_count", lambda: 2)
        pieces = list(tokens_module._split_texts(texts))
    assert [text for piece in pieces for text in piece] == list(map(well_formed, texts))
    assert all(len(piece) == 1 or sum(map(len, piece)) <= 100 for piece in pieces)
    assert all(sum(map(len, one)) + len(after[0]) > 100 for one, after in itertools.pairwise(pieces))


def test_a_small_call_is_encoded_between_the_texts_of_a_large_one(
    encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer's library is asked for a few texts at a time, and finishes them before it begins anything else."""
    plain, asked, small = encoder._text_tokenizer, list[list[str]](), ["a", "b"]
    begun, small_is_through = threading.Event(), threading.Event()

    class Watched:
        def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> Any:
            if begun.is_set() and texts != small:
                assert small_is_through.wait(30)
            asked.append(texts)
            begun.set()
            return plain.encode_batch_fast(texts, add_special_tokens=add_special_tokens)

    monkeypatch.setattr(encoder, "_text_tokenizer", Watched())
    large = ["many words " * 1000] * 10 * (os.cpu_count() or 1)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(encoder._encode_texts, large)
        assert begun.wait(30)
        assert encoder._encode_texts(small) == [encoding.ids for encoding in plain.encode_batch(small)]
        small_is_through.set()
        assert found.result(60) == [plain.encode(large[0]).ids] * len(large)
    assert asked.index(small) == 1 < len(asked) - 1


def test_tokenizing_a_large_request_can_be_ended_between_its_portions(encoder: PromptEncoder) -> None:
    """A thread that tokenizes for a caller who has given up takes time from the others."""
    portions = 0

    def check() -> None:
        nonlocal portions
        portions += 1
        if portions == 3:
            raise RerankTimeoutError("too late")

    prompt = build_prompt(RerankRequest("q", ("word " * 4_000,) * 10_000))
    with pytest.raises(RerankTimeoutError, match="too late"):
        encoder.encode(prompt, 8192, check)
    assert portions == 3
