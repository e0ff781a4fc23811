"""A ranked task as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from qwen3_rerank_plugins._task_ranker import RankedTask
from qwen3_rerank_plugins.data.results import as_object
from qwen3_rerank_plugins.data.tasks import Candidate
from qwen3_rerank_plugins.display.ranking_table import compact_table, printable, score_bar, snippet
from qwen3_rerank_plugins.engine.ranking import RankedDocument


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
            score_bar(document.score),
            _movement(document.index, rank),
            *mark,
            _snippet(candidate, document),
            style="" if document.score >= 0.5 else "dim",
        )
    heading = Text(printable(ranked.task.query), "bold cyan")
    if ranked.task.query_id is not None:
        heading.append(f"  {printable(str(ranked.task.query_id))}", "dim not bold")
    return Group(heading, table if ranked.documents else Text("nothing to show", "dim"), "")


def to_json(ranked: RankedTask) -> str:
    """Return one line of strict JSON, in ASCII so that every encoding of a pipe can carry it."""
    task = ranked.task
    results = [as_object(document, **_name(task.candidates[document.index])) for document in ranked.documents]
    return json.dumps({"query_id": task.query_id, "query": task.query, "results": results}, allow_nan=False)


def _name(candidate: Candidate) -> dict[str, Any]:
    return {"text": candidate.text} if candidate.doc_id is None else {"doc_id": candidate.doc_id}


def _movement(before: int, now: int) -> Text:
    arrow, color = ("▲", "green") if now < before else ("▼", "red") if now > before else ("=", "dim")
    return Text.assemble(f"{before + 1} ", (arrow, color))


def _snippet(candidate: Candidate, document: RankedDocument) -> Text:
    text = Text()
    if document.truncated_tokens:
        text.append(f"✂ {document.truncated_tokens} cut  ", "magenta")
    if candidate.doc_id is not None:
        text.append(f"{printable(str(candidate.doc_id))}  ", "dim cyan")
    if document.span:
        text.append(f"§ {document.span[0]}-{document.span[1]}  ", "magenta")
    return text.append(snippet(document.passage))
