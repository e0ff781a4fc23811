"""Pairs: one request a query, and every score back where its pair stood."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.pairs import group_pairs, pair_probabilities
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.results import probability
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import InputTypeError, NonFiniteScoreError

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
