"""`qwen3-rerank rank`: documents from files or stdin, ordered by how well they meet a query."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.inputs import FormatName
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL
from qwen3_rerank_plugins.remote.settings import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from qwen3_rerank_plugins._task_ranker import RankedTask


def rank(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Text lines, JSONL, JSON, CSV, TSV, Parquet; - is stdin.")
    ],
    query: Annotated[
        str | None, typer.Option(help="What is looked for; needed for documents, refused for sets.")
    ] = None,
    format: Annotated[
        FormatName, typer.Option(help='Of all files; "auto" looks at their names and first lines.')
    ] = "auto",
    text_field: Annotated[str, typer.Option(help="Field or column that holds a document's text.")] = "text",
    as_json: options.Json = False,
    instruction: options.Instruction = None,
    top_n: options.TopN = None,
    min_score: options.MinScore = None,
    max_length: options.MaxLength = None,
    long_documents: options.LongDocuments = "truncate",
    on_nonfinite: options.OnNonfinite = "error",
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    attention: options.Attention = "auto",
    quantization: options.Quantization = None,
    max_batch_tokens: options.MaxBatchTokens = "auto",
    threads: options.Threads = "auto",
    compile: options.Compile = False,
    cache_dir: options.CacheDir = None,
    local_files_only: options.LocalFilesOnly = False,
    trust_remote_code: options.TrustRemoteCode = False,
    remote: options.Remote = None,
    protocol: options.Protocol = "auto",
    template: options.Template = None,
    scores: options.Scores = "auto",
    no_probe: options.NoProbe = False,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Rank the documents in files for a query, or the candidates in a reranking set for theirs."""
    import asyncio

    from rich.text import Text

    from qwen3_rerank_plugins._task_ranker import TaskRanker
    from qwen3_rerank_plugins.cli.inputs import TaskReader
    from qwen3_rerank_plugins.cli.loading import api_key, describe, load
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.cli.tables import as_table, to_json
    from qwen3_rerank_plugins.data.readers import count_records
    from qwen3_rerank_plugins.engine.report import ScoringReport
    from qwen3_rerank_plugins.reranker import Qwen3Reranker

    screen = Screen(results_for_programs=as_json)
    reranker = Qwen3Reranker(
        model,
        revision=revision,
        device=device,
        devices=devices,
        device_map=device_map,
        dtype=dtype,
        attention=attention,
        quantization=quantization,
        max_length=max_length,
        long_documents=long_documents,
        on_nonfinite=on_nonfinite,
        max_batch_tokens=max_batch_tokens,
        threads=threads,
        compile=compile,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        trust_remote_code=trust_remote_code,
        remote=remote,
        protocol=protocol,
        template=template,
        scores=scores,
        probe=not no_probe,
        timeout=timeout,
        api_key=api_key() if remote else None,
    )
    skipped: list[str] = []
    tasks = TaskReader(format, query, text_field, skipped.append).read(files)
    first = next(tasks, None)  # bad input shows before a model is loaded for it
    if first is None:
        screen.note("there is nothing to rank.")
        return
    nothing = query is not None and not first.candidates
    if not nothing:
        load(reranker, screen)

    receipt = ScoringReport()

    def show(ranked: RankedTask) -> None:
        nonlocal receipt
        receipt += ranked.report
        if as_json:
            typer.echo(to_json(ranked))
        else:
            screen.show(as_table(ranked))

    total = 1 if query is not None else count_records(files)
    with screen.progress("Ranking", total) as on_progress:
        ranker = TaskRanker(reranker, on_progress, instruction, top_n, min_score)
        asyncio.run(_show_all(ranker.rank_all(itertools.chain([first], tasks)), show))
    if not (nothing or as_json):
        screen.show(Text(f"Ranked by {describe(reranker)}.", "dim"))
    for message in filter(None, [*skipped, receipt.describe()]):
        screen.note(message)


async def _show_all(ranked: AsyncIterator[RankedTask], show: Callable[[RankedTask], None]) -> None:
    async for task in ranked:
        show(task)
