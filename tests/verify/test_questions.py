"""Questions, scored one after the other."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.questions import DOCUMENTS_PER_CALL, Question, count_documents, score_questions
from tests.doubles import OverlapScorer


def test_log_odds_stand_in_the_order_of_the_documents_whatever_the_reranker_would_keep() -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer(), top_n=1, min_score=0.9)
    question = Question("a b", ("a", "a b", "a", "nothing"))
    assert score_questions(reranker, [question]) == [(-0.5, 0.5, -0.5, -1.5)]


def test_the_instruction_is_the_questions_and_never_the_rerankers() -> None:
    scorer = OverlapScorer()
    reranker = Qwen3Reranker(scorer=scorer, instruction="of the reranker")
    score_questions(reranker, [Question("a", ("x",)), Question("b", ("x",), "of the question")])
    assert [request.instruction for request in scorer.requests] == [DEFAULT_INSTRUCTION, "of the question"]


def test_long_questions_move_the_bar_call_by_call() -> None:
    told: list[int] = []
    texts = tuple(f"text {number}" for number in range(2 * DOCUMENTS_PER_CALL + 3))
    found = score_questions(Qwen3Reranker(scorer=OverlapScorer()), [Question("text 5", texts)], told.append)
    assert told == [DOCUMENTS_PER_CALL, DOCUMENTS_PER_CALL, 3]
    assert [position for position, log_odds in enumerate(found[0]) if log_odds == 0.5] == [5]


def test_a_refusal_names_the_location_of_the_question() -> None:
    reranker = Qwen3Reranker("demo", max_length=100)
    for location, start in (("set.jsonl line 7", "set.jsonl line 7: Template"), ("", "Template")):
        with pytest.raises(RequestError, match=f"^{start}, instruction and query take"):
            score_questions(reranker, [Question("word " * 200, ("text",), location=location)])


def test_no_documents_at_all_are_refused_and_one_question_may_have_none() -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    with pytest.raises(RequestError, match="no documents to score"):
        score_questions(reranker, [Question("a", ())])
    assert score_questions(reranker, [Question("a", ()), Question("b", ("b",))]) == [(), (-0.5,)]
    assert count_documents([Question("a", ("x", "y")), Question("b", ("x",))]) == 3
