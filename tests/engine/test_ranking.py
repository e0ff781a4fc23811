"""Results: order by log-odds, ties by position, nothing broken ever ordered."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.ranking import (
    RankedDocument,
    group_pairs,
    pair_probabilities,
    probability,
    rank_documents,
)
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import InputTypeError, NonFiniteScoreError


def rank(*log_odds: float, top_n: int | None = None, min_score: float | None = None) -> list[RankedDocument]:
    request = RerankRequest("q", tuple(f"document {index}" for index in range(len(log_odds))))
    return rank_documents(request, Scores(log_odds, tuple(range(len(log_odds)))), top_n, min_score)


def indices(ranked: list[RankedDocument]) -> list[int]:
    return [document.index for document in ranked]


finite = st.floats(-50, 50)


@given(st.lists(finite, max_size=30))
def test_every_document_comes_back_once_best_first(log_odds: list[float]) -> None:
    ranked = rank(*log_odds)
    assert sorted(indices(ranked)) == list(range(len(log_odds)))
    assert all(one.logit >= other.logit for one, other in zip(ranked, ranked[1:], strict=False))
    assert all(one.score >= other.score for one, other in zip(ranked, ranked[1:], strict=False))


@given(st.lists(st.sampled_from([-1.0, 0.0, 2.5]), max_size=30))
def test_ties_stay_in_the_callers_order(log_odds: list[float]) -> None:
    ranked = rank(*log_odds)
    for one, other in zip(ranked, ranked[1:], strict=False):
        assert one.logit > other.logit or one.index < other.index


def test_log_odds_decide_where_probabilities_are_all_one() -> None:
    ranked = rank(40.0, 60.0, 50.0)
    assert [document.score for document in ranked] == [1.0, 1.0, 1.0]
    assert indices(ranked) == [1, 2, 0]


def test_float32_log_odds_keep_an_order_that_a_bfloat16_head_loses() -> None:
    """Near 20 the bfloat16 grid has steps of 0.125: these three would tie and stand in the caller's order."""
    assert indices(rank(20.01, 20.03, 20.05)) == [2, 1, 0]


@given(finite, st.integers(0, 5))
def test_a_result_carries_its_text_receipt_and_python_floats(log_odds: float, index: int) -> None:
    document = next(found for found in rank(*[log_odds] * 6) if found.index == index)
    assert (document.text, document.truncated_tokens) == (f"document {index}", index)
    assert type(document.score) is float
    assert 0 <= document.score <= 1


@pytest.mark.parametrize(("top_n", "expected"), [(None, 4), (0, 0), (1, 1), (3, 3), (4, 4), (8, 4)])
def test_top_n_keeps_the_best(top_n: int | None, expected: int) -> None:
    assert indices(rank(1.0, 4.0, 3.0, 2.0, top_n=top_n)) == [1, 2, 3, 0][:expected]


def test_min_score_is_inclusive() -> None:
    assert indices(rank(0.0, 1.0, -1.0, min_score=0.5)) == [1, 0]
    assert indices(rank(-1.0, -2.0, min_score=0.5)) == []


def test_min_score_comes_before_top_n() -> None:
    assert indices(rank(3.0, -3.0, 2.0, top_n=3, min_score=0.5)) == [0, 2]


@given(st.floats(-800, 800))
def test_probability_is_the_sigmoid_without_overflow(log_odds: float) -> None:
    expected = 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
    assert probability(log_odds) == pytest.approx(expected, rel=1e-12, abs=1e-300)
    assert probability(log_odds) + probability(-log_odds) == pytest.approx(1)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_broken_score_is_an_error_that_names_the_documents_and_a_dtype(broken: float) -> None:
    with pytest.raises(NonFiniteScoreError, match=r"2 of 4 documents \(positions 1, 3\).*dtype='float32'") as caught:
        rank(1.0, broken, 2.0, broken)
    assert caught.value.documents == (1, 3)


def test_a_score_that_float32_could_not_save_blames_the_weights() -> None:
    request = RerankRequest("q", ("text",), on_nonfinite="float32")
    with pytest.raises(NonFiniteScoreError, match="Float32 gave none either, so the checkpoint's weights are damaged"):
        rank_documents(request, Scores((math.nan,), (0,)), None, None)


def test_a_result_carries_its_window_and_the_text_of_it() -> None:
    request = RerankRequest("q", ("the whole text", "other"))
    scores = Scores((1.0, 0.0), (0, 0), ((4, 9), None), (1,))
    first, second = rank_documents(request, scores, None, None)
    assert (first.span, first.passage, first.rescored) == ((4, 9), "whole", False)
    assert (second.span, second.passage, second.rescored) == (None, "other", True)


@pytest.mark.parametrize(
    ("text", "own", "span", "expected"),
    [
        ("title: x\n\nthe text", "the text", (9, 13), (0, 3)),
        ("title: x\n\nthe text", "  the text ", (14, 18), (6, 10)),  # the host stripped what it put together
        ("title: x\n\nthe text", "the text", (0, 8), None),
        ("the text", "the text", (4, 8), (4, 8)),
        ("the text", "another", (4, 8), None),
        ("the text", " ", (4, 8), None),
        ("the text", "the text", None, None),
    ],
)
def test_a_window_is_found_again_in_a_part_of_the_text(
    text: str, own: str, span: tuple[int, int] | None, expected: tuple[int, int] | None
) -> None:
    assert RankedDocument(0, 0.5, 0.0, 0, text, span).span_within(own) == expected


def test_a_document_with_nothing_to_read_is_last_with_probability_zero() -> None:
    request = RerankRequest("q", ("", "text", "  "))
    ranked = rank_documents(request, Scores((-math.inf, -9.0, -math.inf), (0, 0, 0)), None, None)
    assert indices(ranked) == [1, 0, 2]
    assert ranked[1].score == 0.0


def test_nothing_to_rank_is_an_empty_list() -> None:
    assert rank() == []


class NeverSearched(tuple[int, ...]):
    """Positions that may be read in order; to search them for each document takes the square of their number."""

    def __contains__(self, _: object) -> bool:
        raise AssertionError("searched")


def test_what_was_rescored_is_not_searched_for_each_document() -> None:
    request = make_request("query", ["a", "b", "c"], None)
    scores = Scores((1.0, 2.0, 3.0), (0, 0, 0), rescored=NeverSearched((0, 2)))
    assert [found.rescored for found in rank_documents(request, scores, None, None)] == [True, False, True]


words = st.text("ab", max_size=2)


def make(query: str, documents: list[str]) -> RerankRequest:
    return make_request(query, documents, "find", 100)


def test_pairs_of_one_query_share_a_request_and_queries_keep_their_order() -> None:
    groups = group_pairs([("q", "1"), ("p", "2"), ("q", "3"), ["q", "1"]], make)
    assert [(group.request.query, group.request.documents) for group in groups] == [
        ("q", ("1", "3", "1")),
        ("p", ("2",)),
    ]
    assert [group.positions for group in groups] == [(0, 2, 3), (1,)]
    assert {(group.request.instruction, group.request.max_length) for group in groups} == {("find", 100)}


@given(st.lists(st.tuples(words, words)))
def test_every_pair_gets_the_probability_of_its_own_query_and_document(pairs: list[tuple[str, str]]) -> None:
    def log_odds(query: str, document: str) -> float:
        return float(hash((query, document)) % 100 - 50)

    groups = group_pairs(pairs, make)
    scores = [
        Scores(
            tuple(log_odds(group.request.query, document) for document in group.request.documents),
            (0,) * len(group.request.documents),
        )
        for group in groups
    ]
    assert pair_probabilities(groups, scores) == [probability(log_odds(*pair)) for pair in pairs]


def test_a_broken_score_is_never_a_probability() -> None:
    groups = group_pairs([("p", "1"), ("q", "2")], make)
    with pytest.raises(NonFiniteScoreError):
        pair_probabilities(groups, [Scores((1.0,), (0,)), Scores((math.nan,), (0,))])


@pytest.mark.parametrize("pair", ["ab", b"ab", ("a",), ("a", "b", "c"), ("a", None), (None, "b"), 3, None])
def test_what_is_no_pair_of_strings_is_refused_with_its_position(pair: object) -> None:
    with pytest.raises(InputTypeError, match=r"pairs\[1\]"):
        group_pairs([("a", "b"), pair], make)
