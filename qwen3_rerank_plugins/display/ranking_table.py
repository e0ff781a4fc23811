"""A ranking as a table with bars: in HTML for a notebook, and of rich for a terminal.

Documents are text of strangers. In HTML every character of theirs is escaped, and in both tables the characters that a
terminal or a browser would obey are replaced.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MOST_ROWS = 50
"""A notebook keeps what it shows."""
LONGEST_SNIPPET = 400
"""Characters of a document in one row."""
_BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_CELL = "text-align:left;vertical-align:top;padding:2px 8px"
_TRACK = "display:inline-block;width:80px;height:10px;margin-right:6px;border:1px solid;border-radius:2px;opacity:.7"


class Ranked(Protocol):
    """What the tables show of a `RankedDocument`."""

    @property
    def index(self) -> int:
        """Its position in the input."""

    @property
    def score(self) -> float:
        """The probability."""

    @property
    def truncated_tokens(self) -> int:
        """Tokens that were cut."""

    @property
    def span(self) -> tuple[int, int] | None:
        """The characters of its best window, if it was read in windows."""

    @property
    def passage(self) -> str:
        """The text that was scored."""


def as_html(ranking: Sequence[Ranked]) -> str:
    """Return an HTML table with one row per document, and a line for those beyond `MOST_ROWS`."""
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("#", "score", "was", "document"))
    rows = "".join(_html_row(rank, document) for rank, document in enumerate(ranking[:MOST_ROWS], start=1))
    hidden = len(ranking) - MOST_ROWS
    more = f'<tr><td colspan="4" style="{_CELL}">and {hidden:,} more</td></tr>' if hidden > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}{more}</tbody></table>"


def as_rich(ranking: Sequence[Ranked]) -> Table:
    """Return a table of rich, which the extra "cli" installs, with one row per document."""
    from rich.text import Text

    table = compact_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True)
    table.add_column("document", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, document in enumerate(ranking, start=1):
        style = "" if document.score >= 0.5 else "dim"
        text = Text.assemble((_marks(document), "magenta"), snippet(document.passage))
        table.add_row(Text(str(rank), "bold"), score_bar(document.score), str(document.index + 1), text, style=style)
    return table


def compact_table() -> Table:
    """Return an empty table of rich, as wide as the terminal and without edges."""
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True, header_style="dim"
    )


def score_bar(score: float) -> Text:
    """Return a probability as a bar and a number, for rich."""
    from rich.text import Text

    eighths = round(score * _BAR_CELLS * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text.assemble((bar.ljust(_BAR_CELLS), "green" if score >= 0.5 else "yellow"), f" {score:.3f}")


def snippet(text: str) -> str:
    """Return the beginning of a document on one line, or "(blank)"."""
    return printable(text) or "(blank)"


def printable(text: str) -> str:
    """Return the beginning of a text on one line, without the control and direction characters in it."""
    line = " ".join(text[:LONGEST_SNIPPET].split())
    return "".join("�" if _is_control(character) else character for character in line)


def _html_row(rank: int, document: Ranked) -> str:
    width = round(min(1.0, max(0.0, document.score)) * 100)
    bar = f'<span style="{_TRACK}"><span style="display:block;width:{width}%;height:100%;background:currentColor">'
    cut = "…" if len(document.passage) > LONGEST_SNIPPET else ""
    text = html.escape(f"{_marks(document)}{snippet(document.passage)}{cut}")
    cells = (str(rank), f"{bar}</span></span>{document.score:.3f}", str(document.index + 1), f"<bdi>{text}</bdi>")
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _marks(document: Ranked) -> str:
    return "".join(f"{mark}  " for mark in _marks_of(document))


def _marks_of(document: Ranked) -> Iterator[str]:
    if document.truncated_tokens:
        yield f"✂ {document.truncated_tokens} cut"
    if document.span:
        yield f"§ {document.span[0]}-{document.span[1]}"


def _is_control(character: str) -> bool:
    """Surrogates count as control characters, because no terminal can show them."""
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _DIRECTIONS
