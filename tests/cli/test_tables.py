"""What a person and a program see of a ranked task."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from qwen3_rerank_plugins._task_ranker import RankedTask
from qwen3_rerank_plugins.cli.tables import as_table, to_json
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask
from qwen3_rerank_plugins.display.ranking_table import printable
from qwen3_rerank_plugins.engine.ranking import RankedDocument
from qwen3_rerank_plugins.engine.report import ScoringReport


def ranked(*documents: RankedDocument, candidates: list[Candidate], query: str = "q") -> RankedTask:
    return RankedTask(RankingTask(query, tuple(candidates), "id-1"), documents, ScoringReport())


def printed(result: RenderableType, width: int = 80) -> list[str]:
    """The lines that a terminal of a width shows."""
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(result)
    return [line.rstrip() for line in console.export_text().splitlines()]


def rendered(task: RankedTask, width: int = 80) -> list[str]:
    return printed(as_table(task), width)


THREE = ranked(
    RankedDocument(2, 0.75, 1.1, 0, "third"),
    RankedDocument(1, 0.5, 0.0, 120, "second"),
    RankedDocument(0, 0.0, -math.inf, 0, ""),
    candidates=[Candidate(""), Candidate("second", "d2", relevance=1), Candidate("third", relevance=0)],
)


def test_the_table_shows_rank_score_movement_mark_and_text() -> None:
    heading, header, _, first, second, third, *_ = rendered(THREE)
    assert heading.split() == ["q", "id-1"]
    assert header.split() == ["#", "score", "was", "document"]
    assert first.split() == ["1", "██████", "0.750", "3", "▲", "third"]
    assert second.split() == ["2", "████", "0.500", "2", "=", "★", "✂", "120", "cut", "d2", "second"]
    assert third.split() == ["3", "0.000", "1", "▼", "(blank)"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_keeps_to_the_width(width: int) -> None:
    long = ranked(RankedDocument(0, 1.0, 40.0, 0, "x"), candidates=[Candidate("word " * 100, "a" * 20)])
    assert max(map(len, rendered(long, width))) <= width


def test_without_judgements_there_is_no_column_for_them() -> None:
    plain = ranked(RankedDocument(0, 1.0, 40.0, 0, "x"), candidates=[Candidate("x")])
    assert not any("★" in line for line in rendered(plain))


def test_an_empty_ranking_says_so() -> None:
    assert rendered(ranked(candidates=[]))[1] == "nothing to show"


def test_json_is_strict_and_names_documents_by_id_or_text() -> None:
    found = json.loads(to_json(THREE), parse_constant=pytest.fail)
    assert (found["query_id"], found["query"]) == ("id-1", "q")
    assert found["results"] == [
        {"index": 2, "text": "third", "score": 0.75, "logit": 1.1, "truncated_tokens": 0, "span": None},
        {"index": 1, "doc_id": "d2", "score": 0.5, "logit": 0.0, "truncated_tokens": 120, "span": None},
        {"index": 0, "text": "", "score": 0.0, "logit": None, "truncated_tokens": 0, "span": None},
    ]


def test_json_is_ascii_whatever_the_texts_hold() -> None:
    odd = "ü首😀\ud800\u2028"
    line = to_json(ranked(RankedDocument(0, 1.0, 40.0, 0, odd), candidates=[Candidate(odd)], query=odd))
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert [found["query"], found["results"][0]["text"]] == [odd, odd]


@given(st.text(st.characters(codec=None)) | st.just("a\x1b[31mb\u202ec\ud800\x9bd\r\n\te"))
def test_nothing_that_steers_a_terminal_is_printed(text: str) -> None:
    shown = printable(text)
    shown.encode()  # a lone surrogate could not be written
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_what_joins_emoji_and_orders_scripts_is_printed_as_it_stands() -> None:
    assert printable("👩‍👩‍👧 שלום नमस्ते") == "👩‍👩‍👧 שלום नमस्ते"


def test_markup_in_a_text_stays_text() -> None:
    text = "[bold]x[/bold] :smile:"
    marked = ranked(RankedDocument(0, 1.0, 40.0, 0, text), candidates=[Candidate(text)], query="[b]")
    assert rendered(marked)[0].startswith("[b]")
    assert any("[bold]x[/bold] :smile:" in line for line in rendered(marked))
