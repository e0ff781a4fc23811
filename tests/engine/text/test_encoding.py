"""How long documents are read, and how the scores of what was read become those of documents."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.settings import LongDocuments
from qwen3_rerank_plugins.engine.text.encoding import EncodedRequest, encode_request
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import LongDocumentError, NoRoomError
from tests.engine.test_ranking import NeverSearched

LONG = "".join(f"Sentence number {number} is here. " for number in range(60))


@pytest.fixture(scope="module")
def encoder(qwen_tokenizer_file: Path) -> PromptEncoder:
    return PromptEncoder(qwen_tokenizer_file)


def request(*documents: str, how: LongDocuments, max_length: int = 160) -> RerankRequest:
    return make_request("a question", documents, None, max_length, how)


def test_documents_that_fit_are_read_alike_in_every_mode(encoder: PromptEncoder) -> None:
    modes: list[LongDocuments] = ["truncate", "error", "windows"]
    readings = [encode_request(request("short", "", "texts", how=how), encoder) for how in modes]
    assert readings[0].tokens == readings[1].tokens == readings[2].tokens
    assert [piece.document for piece in readings[2].chunks] == [0, 2]
    assert readings[2].scores((1.0, 2.0)).spans == (None, None, None)
    assert readings[2].scores((1.0, 2.0)).log_odds == (1.0, -math.inf, 2.0)


def test_windows_are_tokenised_as_documents_of_their_own(encoder: PromptEncoder) -> None:
    reading = encode_request(request("short", LONG, how="windows"), encoder)
    assert [piece.document for piece in reading.chunks] == [0] + [1] * (len(reading.chunks) - 1)
    assert len(reading.chunks) > 4
    assert not any(reading.tokens.truncated_tokens)
    for index, piece in enumerate(reading.chunks):
        assert piece.text == (LONG[slice(*piece.span)] if piece.span else "short")
        alone = encoder.encode(build_prompt(RerankRequest("a question", (piece.text,))), 160)
        assert reading.tokens.document_ids[reading.tokens.inverse_index[index]] == alone.document_ids[0]
        assert reading.tokens.prefix == alone.prefix


def test_refused_documents_are_named_with_their_numbers(encoder: PromptEncoder) -> None:
    cut = encode_request(request("short", LONG, "", LONG * 2, how="truncate"), encoder).tokens.truncated_tokens
    with pytest.raises(LongDocumentError, match=rf"2 of 4 documents .* documents\[3\], by {cut[2]} tokens") as raised:
        encode_request(request("short", LONG, "", LONG * 2, how="error"), encoder)
    assert raised.value.documents == (1, 3)


def test_windows_need_room(encoder: PromptEncoder) -> None:
    with pytest.raises(NoRoomError, match="for a window"):
        encode_request(request(LONG, how="windows", max_length=85), encoder)


def windowed(encoder: PromptEncoder) -> EncodedRequest:
    return encode_request(request("short", LONG, how="windows"), encoder)


def test_the_best_window_stands_for_its_document_and_the_first_of_equals(encoder: PromptEncoder) -> None:
    reading = windowed(encoder)
    tails = [0.0] * len(reading.tokens.document_ids)
    tails[3] = tails[4] = 2.5
    scores = reading.scores(tails)
    assert scores.log_odds == (0.0, 2.5)
    assert scores.spans == (None, reading.chunks[3].span)
    assert scores.truncated_tokens == (0, 0)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [1, 3, -1])
def test_a_window_that_is_not_finite_is_never_hidden_by_others(
    encoder: PromptEncoder, broken: float, place: int
) -> None:
    reading = windowed(encoder)
    tails = [1.0] * len(reading.tokens.document_ids)
    tails[place] = broken
    scores = reading.scores(tails)
    assert math.isnan(scores.log_odds[1])
    assert scores.log_odds[0] == 1.0


def test_a_document_is_rescored_if_any_of_its_windows_was(encoder: PromptEncoder) -> None:
    reading = windowed(encoder)
    assert reading.scores([0.0] * len(reading.tokens.document_ids), rescored=[2]).rescored == (1,)


def test_equal_documents_share_windows_and_each_gets_its_score(encoder: PromptEncoder) -> None:
    reading = encode_request(request(LONG, LONG, how="windows"), encoder)
    assert len(reading.chunks) == 2 * len(reading.tokens.document_ids)
    scores = reading.scores([float(tail) for tail in range(len(reading.tokens.document_ids))])
    assert scores.log_odds[0] == scores.log_odds[1] == len(reading.tokens.document_ids) - 1
    assert scores.spans[0] == scores.spans[1]


def test_what_was_rescored_is_not_searched_for_each_document(encoder: PromptEncoder) -> None:
    reading = encode_request(make_request("query", ["a", "b", "c"], None), encoder)
    assert reading.scores([1.0, 2.0, 3.0], rescored=NeverSearched((0, 2))).rescored == (0, 2)
