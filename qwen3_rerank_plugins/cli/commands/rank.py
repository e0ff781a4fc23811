"""`qwen3-rerank rank`: rank documents from files or stdin by how well they answer a query."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.inputs import FormatName
from qwen3_rerank_plugins.cli.options import CACHE, ENGINE, SCORING, SERVER, EngineOptions, engine_options

if TYPE_CHECKING:
    from qwen3_rerank_plugins._task_ranker import RankedTask


@engine_options(ENGINE, CACHE, SCORING, SERVER)
def rank(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Text lines, JSONL, JSON, CSV, TSV or Parquet; - is stdin.")
    ],
    query: Annotated[str | None, typer.Option(help="Query; required for documents, refused for sets.")] = None,
    format: Annotated[
        FormatName, typer.Option(help='Format of all files; "auto" detects it from names and first lines.')
    ] = "auto",
    text_field: Annotated[str, typer.Option(help="Field or column that holds a document's text.")] = "text",
    instruction: options.Instruction = None,
    top_n: options.TopN = None,
    min_score: options.MinScore = None,
    as_json: options.Json = False,
    *,
    engine: EngineOptions,
) -> None:
    """Rank the documents in files for a query, or the candidates of each query in reranking sets."""
    import asyncio

    from rich.text import Text

    from qwen3_rerank_plugins._task_ranker import TaskRanker
    from qwen3_rerank_plugins.cli.inputs import TaskReader
    from qwen3_rerank_plugins.cli.loading import describe, load
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.cli.tables import as_table, to_json
    from qwen3_rerank_plugins.data.readers import count_records
    from qwen3_rerank_plugins.engine.report import ScoringReport

    screen = Screen(results_for_programs=as_json)
    reranker = engine.reranker()
    skipped: list[str] = []
    tasks = TaskReader(format, query, text_field, skipped.append).read(files)
    first = next(tasks, None)  # fails on bad input before the model is loaded
    if first is None:
        screen.note("there is nothing to rank.")
        return
    empty = query is not None and not first.candidates
    if not empty:
        load(reranker, screen)

    report = ScoringReport()

    def show(ranked: RankedTask) -> None:
        nonlocal report
        report += ranked.report
        if as_json:
            typer.echo(to_json(ranked))
        else:
            screen.show(as_table(ranked))

    total = 1 if query is not None else count_records(files)
    with screen.progress("Ranking", total) as on_progress:
        ranker = TaskRanker(reranker, on_progress, instruction, top_n, min_score)
        asyncio.run(_show_all(ranker.rank_all(itertools.chain([first], tasks)), show))
    if not (empty or as_json):
        screen.show(Text(f"Ranked by {describe(reranker)}.", "dim"))
    for message in filter(None, [*skipped, report.describe()]):
        screen.note(message)


async def _show_all(ranked: AsyncIterator[RankedTask], show: Callable[[RankedTask], None]) -> None:
    async for task in ranked:
        show(task)
