"""A ranking as a table: what it shows, and that no document can do anything in it."""

from __future__ import annotations

import html.parser
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.display.ranking_table import LONGEST_SNIPPET, MOST_ROWS, as_html, as_rich
from qwen3_rerank_plugins.engine.ranking import RankedDocument, Ranking
from tests.optional import need


def document(text: str, score: float = 0.75, index: int = 3, **others: object) -> RankedDocument:
    return RankedDocument(index, score, 1.0, **{"truncated_tokens": 0, "text": text, **others})  # type: ignore[arg-type]


class Page(html.parser.HTMLParser):
    """The tags and the text of a page, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.styles: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.styles += [value or "" for name, value in attrs if name == "style"]
        assert {name for name, _ in attrs} <= {"style", "colspan"}
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


TAGS = {"table", "thead", "tbody", "tr", "th", "td", "span", "bdi"}


def test_a_row_has_rank_score_place_and_text() -> None:
    page = Page(as_html([document("Bees make honey."), document("Gold.", 0.123456, 0)]))
    assert page.cells == [
        "#",
        "score",
        "was",
        "document",
        "1",
        "0.750",
        "4",
        "Bees make honey.",
        "2",
        "0.123",
        "1",
        "Gold.",
    ]
    assert [style for style in page.styles if "width:75%" in style]
    assert [style for style in page.styles if "width:12%" in style]


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td></tr></table>", "&lt;b&gt; &amp;", "a<!--"],
)
def test_a_document_is_shown_as_text(text: str) -> None:
    page = Page(as_html([document(text), document("after")]))
    assert set(page.tags) == TAGS
    assert page.cells[7] == text
    assert page.cells[-1] == "after"


@given(st.text(), st.floats(0, 1))
def test_no_text_adds_a_tag(text: str, score: float) -> None:
    page = Page(as_html([document(text, score)]))
    assert set(page.tags) == TAGS
    assert len(page.cells) == 8


def test_long_text_and_long_rankings_are_cut() -> None:
    page = Page(as_html([document("word " * 1000, index=place) for place in range(MOST_ROWS + 12)]))
    assert page.cells[-1] == "and 12 more"
    assert page.cells[7].endswith("…")
    assert len(page.cells[7]) <= LONGEST_SNIPPET + 1
    assert len(page.cells) == 4 + 4 * MOST_ROWS + 1


def test_controls_and_direction_marks_are_replaced() -> None:
    page = Page(as_html([document("a\x1b[31mb\u202ec\ud800d\ne")]))
    assert page.cells[7] == "a�[31mb�c�d e"


def test_what_was_cut_and_which_window_was_read_is_marked() -> None:
    shown = Page(as_html([document("one two three", truncated_tokens=12, span=(4, 7)), document("  ")])).cells
    assert shown[7] == "✂ 12 cut  § 4-7  two"
    assert shown[11] == "(blank)"


def test_a_ranking_shows_itself_in_a_notebook_and_a_terminal() -> None:
    need("rich")
    from rich.console import Console

    ranking = Ranking([document("<b>Bees</b>")])
    assert ranking._repr_html_() == as_html([document("<b>Bees</b>")])
    stream = io.StringIO()
    Console(file=stream, width=80).print(ranking)
    assert "0.750" in stream.getvalue()


def test_an_empty_ranking_has_a_head_only() -> None:
    assert Page(as_html([])).cells == ["#", "score", "was", "document"]


def test_a_terminal_shows_the_same_rows_without_markup_or_escapes() -> None:
    need("rich")
    from rich.console import Console

    stream = io.StringIO()
    ranking = [document("[red]Bees[/red] \x1b[31m make honey.", truncated_tokens=12), document("Gold.", 0.1)]
    Console(file=stream, width=80, force_terminal=False).print(as_rich(ranking))
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["#", "score", "was", "document"]
    assert "✂ 12 cut  [red]Bees[/red] �[31m make honey." in lines[2]
    assert "0.750" in lines[2]
    assert max(map(len, lines)) <= 80
