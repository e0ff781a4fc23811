"""A ranked task as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qwen3_rerank_plugins._task_ranker import RankedTask
from qwen3_rerank_plugins.data.results import as_object
from qwen3_rerank_plugins.data.tasks import Candidate
from qwen3_rerank_plugins.engine.ranking import RankedDocument

_BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LONGEST_SNIPPET = 400
_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def as_table(ranked: RankedTask) -> RenderableType:
    """Return the query and one row per document: rank, score, rank in the input, and the beginning of its text."""
    judged = any(candidate.relevant is not None for candidate in ranked.task.candidates)
    table = compact_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True)
    if judged:
        table.add_column("", no_wrap=True, width=1)
    table.add_column("document", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, document in enumerate(ranked.documents):
        candidate = ranked.task.candidates[document.index]
        mark = [Text("★", "yellow") if candidate.relevant else Text("")] if judged else []
        table.add_row(
            Text(str(rank + 1), "bold"),
            _score(document),
            _movement(document.index, rank),
            *mark,
            _snippet(candidate, document),
            style="" if document.score >= 0.5 else "dim",
        )
    heading = Text(printable(ranked.task.query), "bold cyan")
    if ranked.task.query_id is not None:
        heading.append(f"  {printable(str(ranked.task.query_id))}", "dim not bold")
    return Group(heading, table if ranked.documents else Text("nothing to show", "dim"), "")


def compact_table() -> Table:
    """Return an empty table as wide as the terminal, without edges."""
    return Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True, header_style="dim"
    )


def to_json(ranked: RankedTask) -> str:
    """Return one line of strict JSON, in ASCII so that every encoding of a pipe can carry it."""
    task = ranked.task
    results = [as_object(document, **_name(task.candidates[document.index])) for document in ranked.documents]
    return json.dumps({"query_id": task.query_id, "query": task.query, "results": results}, allow_nan=False)


def printable(text: str) -> str:
    """Return one line without the control and direction characters that a terminal would obey."""
    line = " ".join(text[:_LONGEST_SNIPPET].split())
    return "".join("�" if _is_control(character) else character for character in line)


def _name(candidate: Candidate) -> dict[str, Any]:
    return {"text": candidate.text} if candidate.doc_id is None else {"doc_id": candidate.doc_id}


def _score(document: RankedDocument) -> Text:
    eighths = round(document.score * _BAR_CELLS * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    color = "green" if document.score >= 0.5 else "yellow"
    return Text.assemble((bar.ljust(_BAR_CELLS), color), f" {document.score:.3f}")


def _movement(before: int, now: int) -> Text:
    arrow, color = ("▲", "green") if now < before else ("▼", "red") if now > before else ("=", "dim")
    return Text.assemble(f"{before + 1} ", (arrow, color))


def _snippet(candidate: Candidate, document: RankedDocument) -> Text:
    snippet = Text()
    if document.truncated_tokens:
        snippet.append(f"✂ {document.truncated_tokens} cut  ", "magenta")
    if candidate.doc_id is not None:
        snippet.append(f"{printable(str(candidate.doc_id))}  ", "dim cyan")
    if document.span:
        snippet.append(f"§ {document.span[0]}-{document.span[1]}  ", "magenta")
    return snippet.append(printable(document.passage) or "(blank)")


def _is_control(character: str) -> bool:
    """Surrogates count as control characters, because no terminal can show them."""
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _DIRECTIONS
