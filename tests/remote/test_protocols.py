"""How each server is asked: field by field, as its own documentation has it."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.errors import RemoteAnswerError
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS, body_of, log_odds_of, read_answer
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.settings import ProtocolName

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
    assert {"auto", *PROTOCOLS} == set(get_args(ProtocolName))
    assert set(BODIES) == set(PROTOCOLS)


@pytest.mark.parametrize("name", BODIES)
def test_a_request_has_exactly_the_fields_of_its_server(name: str) -> None:
    with_logits, changed = BODIES[name]
    assert body_of(PROTOCOLS[name], "m", "q", ["a", "b"], "i", logits=True) == with_logits
    assert body_of(PROTOCOLS[name], "m", "q", ["a", "b"], "i", logits=False) == {**with_logits, **changed}


def test_no_instruction_is_no_field() -> None:
    assert "instruction" not in body_of(PROTOCOLS["vllm"], "m", "q", ["a"], None, logits=True)


def results(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"results": [{"index": index, "relevance_score": score} for index, score in pairs]}


def read(answer: object, documents: int = 2, scale: Any = "logit", dialect: str = "cohere") -> tuple[float, ...]:
    return read_answer(answer, PROTOCOLS[dialect], documents, scale, Redaction([]).quote)


def test_scores_go_where_their_index_says() -> None:
    assert read(results((1, 5.0), (0, -3))) == (-3.0, 5.0)


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        ("vllm", {"data": [{"index": 0, "object": "score", "score": 1.5}], "usage": {}}),
        ("vllm-rerank", {"results": [{"index": 0, "document": {"text": "a"}, "relevance_score": 1.5}]}),
        ("sglang", [{"score": 1.5, "document": "a", "index": 0, "meta_info": None}]),
        ("tei", [{"index": 0, "score": 1.5}]),
        ("infinity", {"object": "rerank", "results": [{"relevance_score": 1.5, "index": 0, "document": None}]}),
        ("cohere", {"id": "x", "results": [{"index": 0, "relevance_score": 1.5}], "meta": {}}),
    ],
)
def test_the_answer_of_each_server_is_read(dialect: str, answer: object) -> None:
    assert read(answer, 1, dialect=dialect) == (1.5,)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (results((0, 1.0)), "1 results for 2 documents; document 1 has none"),
        (results((0, 1.0), (0, 2.0)), "two results for document 0"),
        (results((0, 1.0), (2, 2.0)), "with an index other than those of the 2 documents that were sent"),
        (results((0, 1.0), (-1, 2.0)), "with an index other than those of the 2 documents"),
        (results((0, 1.0), (None, 2.0)), "whose index is no whole number"),
        (results((0, 1.0), (True, 2.0)), "whose index is no whole number"),
        (results((0, 1.0), ("1", 2.0)), "whose index is no whole number"),
        (results((0, 1.0), (1.0, 2.0)), "whose index is no whole number"),
        (results((0, 1.0), (1, "high")), "whose score is no number"),
        (results((0, 1.0), (1, "0.5")), "whose score is no number"),
        (results((0, 1.0), (1, True)), "whose score is no number"),
        (results((0, 1.0), (1, [0.5])), "whose score is no number"),
        (results((0, 1.0), (1, 10**400)), "a score beyond the range of floating-point numbers"),
        (results((0, 1.0), (1, 2.0), (1, 2.0)), "two results for document 1"),
        (results((0, 1.0), (1, 2.0), (2, 2.0)), "with an index other than those of the 2 documents"),
        ({"results": [{"relevance_score": 1.0}]}, "without the field 'index'"),
        ({"results": [{"index": 0, "score": 1.0}]}, "without the field 'relevance_score'"),
        ({"results": [1, 2]}, "a result that is no object"),
        ({"results": None}, "no list under 'results'"),
        ({"data": []}, "no list under 'results'"),
        ({"error": "no"}, "no list under 'results'"),
        ([], "no list under 'results'"),
        (None, "no list under 'results'"),
        ("text", "no list under 'results'"),
        ({"results": []}, "0 results for 2 documents"),
    ],
    ids=lambda found: str(found)[:50],
)
def test_an_answer_that_is_not_one_score_a_document_is_an_error(answer: object, message: str) -> None:
    with pytest.raises(RemoteAnswerError, match=message):
        read(answer)


def test_a_long_odd_answer_is_quoted_in_part() -> None:
    with pytest.raises(RemoteAnswerError) as caught:
        read({"results": "x" * 10_000})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("score", [None, math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_stays_one_that_nobody_can_order(score: float | None) -> None:
    found = read(results((0, 1.0), (1, score)))
    assert found[0] == 1.0
    assert not math.isfinite(found[1])


@pytest.mark.parametrize("score", [1.01, -0.01, 7, math.inf])
def test_a_number_that_is_no_probability_is_an_error_with_the_word_for_it(score: float) -> None:
    with pytest.raises(RemoteAnswerError, match="say scores='logit'"):
        read(results((0, 0.5), (1, score)), scale="probability")


@given(st.floats(-30, 30))
def test_log_odds_of_a_probability_are_what_it_was_made_of(log_odds: float) -> None:
    assert log_odds_of(probability(log_odds)) == pytest.approx(log_odds, abs=1e-15 * math.exp(abs(log_odds)) + 1e-12)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_order_of_probabilities_is_the_order_of_their_log_odds(first: float, second: float) -> None:
    lower, higher = sorted([first, second])
    assert log_odds_of(lower) <= log_odds_of(higher)
    assert math.isfinite(log_odds_of(first))


@pytest.mark.parametrize(("low", "high", "error"), [(-80, 10, 0.001), (10, 14, 0.05)])
def test_what_a_float32_probability_keeps_of_log_odds_is_what_the_page_says(
    low: float, high: float, error: float
) -> None:
    for step in range(1000):
        log_odds = low + (high - low) * step / 1000
        assert abs(log_odds_of(float(np.float32(probability(log_odds)))) - log_odds) <= error


def test_where_probabilities_saturate_is_what_the_page_says() -> None:
    def in_bfloat16(number: float) -> float:
        return float(torch.tensor(number, dtype=torch.float32).bfloat16())

    assert np.float32(probability(17.4)) == 1.0 != np.float32(probability(16.6))
    assert in_bfloat16(probability(6.3)) == 1.0 != in_bfloat16(probability(6.2))


def test_saturated_probabilities_are_beyond_all_others_that_servers_send() -> None:
    """In float32 the largest below 1 is 1 - 2**-24."""
    assert log_odds_of(1.0) > log_odds_of(1 - 2**-24) > 16
    assert log_odds_of(0.0) < log_odds_of(2.0**-149) < -100
    assert (probability(log_odds_of(1.0)), probability(log_odds_of(0.0))) == (1.0, 0.0)
    assert log_odds_of(math.nextafter(1, 0)) < log_odds_of(1.0)
    assert log_odds_of(math.nextafter(0, 1)) > log_odds_of(0.0)


@pytest.mark.parametrize(
    ("score", "saturated"), [(1.0000001, 1.0), (1.00001, 1.0), (-1e-9, 0.0), (-1e-5, 0.0), (1, 1.0)]
)
def test_a_probability_beyond_its_end_by_rounding_is_that_end(score: float, saturated: float) -> None:
    found = read(results((0, 0.5), (1, score)), scale="probability")
    assert found == (0.0, log_odds_of(saturated))
    assert math.isfinite(found[1])
