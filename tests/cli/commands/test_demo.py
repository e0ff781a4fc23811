"""`qwen3-rerank demo`: a corpus worth ranking, and a table that shows it."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.cli.commands.demo import keyword_order, order_by_keywords
from qwen3_rerank_plugins.data.bundled import QUESTIONS, read_corpus
from tests.cli.conftest import MODEL, Run
from tests.doubles import OverlapScorer


def test_the_corpus_is_small_varied_and_holds_every_answer() -> None:
    corpus = read_corpus()
    names = [passage.doc_id for passage in corpus]
    assert len(corpus) == len(set(names)) == 24
    assert all(40 <= len(passage.text.split()) <= 90 for passage in corpus)
    assert set(QUESTIONS.values()) <= set(names)


def test_keywords_alone_are_misled_by_most_questions() -> None:
    firsts = [order_by_keywords(question, read_corpus()).candidates[0] for question in QUESTIONS]
    assert sum(bool(first.relevant) for first in firsts) <= 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_never_falls_and_comes_among_the_first_two(question: str) -> None:
    task = order_by_keywords(question, read_corpus())
    ranked = Qwen3Reranker(MODEL).rank(question, [passage.text for passage in task.candidates])
    now = next(rank for rank, document in enumerate(ranked) if task.candidates[document.index].relevant)
    assert now <= ranked[now].index
    assert now < 2


def test_the_demo_shows_every_question_before_and_after_and_who_ranked(run: Run) -> None:
    done = run("demo", "--model", MODEL, "--device", "cpu")
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(question in done.stdout for question in QUESTIONS)
    lines = done.stdout.splitlines()
    assert sum("★" in line and "▲" in line for line in lines) >= 3
    assert sum(line.startswith(f"Ranked by {MODEL} on cpu, float32, sdpa attention") for line in lines) == 1
    assert max(map(len, lines)) <= 80


def test_your_own_questions_replace_the_five(run: Run, overlap: OverlapScorer) -> None:
    done = run("demo", "--query", "octopus hearts", "--query", "Fleming", "--top-n", "2", "--device", "cpu")
    assert [request.query for request in overlap.requests] == ["octopus hearts", "Fleming"]
    assert sum("0." in line for line in done.stdout.splitlines()) == 4
    assert "★" not in done.stdout


def test_keyword_order_prefers_rare_words_short_passages_and_the_given_order() -> None:
    passages = ["the the the", "the owl", "an owl in the very dark wood", "nothing", "owl the"]
    assert keyword_order("THE Owl", passages) == [1, 4, 2, 0, 3]
