"""`qwen3-rerank batch`: rerank a file of requests on a Ray cluster; an interrupted job can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.options import CACHE, ENGINE, SCORING, EngineOptions, engine_options

if TYPE_CHECKING:
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.ray import Summary

_in_cluster: Any = partial(typer.Option, rich_help_panel="Cluster")


@engine_options(ENGINE, CACHE, SCORING)
def batch(
    requests: Annotated[Path, typer.Argument(metavar="INPUT", help="JSONL or Parquet file, or a folder of them.")],
    answers: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the answers; created if missing.")],
    on_error: Annotated[
        Literal["raise", "column"], typer.Option(help="Bad rows: stop the job, or write the error into a column.")
    ] = "raise",
    partition_rows: Annotated[int, typer.Option(min=1, help="Rows per partition, the unit of resuming.")] = 256,
    address: Annotated[
        str | None, _in_cluster(help="Address of a Ray cluster.", show_default="RAY_ADDRESS, or one started here")
    ] = None,
    actors: Annotated[
        int | None,
        _in_cluster(
            min=1, help="Number of actors, each with a loaded model.", show_default="one per GPU; one without GPUs"
        ),
    ] = None,
    gpus_per_actor: Annotated[
        float | None,
        _in_cluster(min=0, help="GPUs per actor; may be a fraction.", show_default="1 if there are GPUs"),
    ] = None,
    cpus_per_actor: Annotated[
        float | None,
        _in_cluster(
            min=0,
            help="CPUs per actor; torch uses as many threads.",
            show_default="1 with a GPU; else an equal share of all",
        ),
    ] = None,
    instruction: options.Instruction = None,
    top_n: options.TopN = None,
    min_score: options.MinScore = None,
    as_json: options.Json = False,
    *,
    engine: EngineOptions,
) -> None:
    """Rerank a file of requests on a Ray cluster, and resume where an earlier run stopped."""
    from qwen3_rerank_plugins.cli.loading import warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.ray import rerank_files

    screen = Screen(results_for_programs=as_json)
    reranker = engine.reranker(instruction=instruction, top_n=top_n, min_score=min_score)
    if address is None and "RAY_ADDRESS" not in os.environ:  # otherwise other machines load the model
        warn_of_size(reranker.settings, screen)
    # Ray reports on its workers on stdout, which is reserved for results
    with screen.progress("Reranking", 1) as advance, contextlib.redirect_stdout(sys.stderr):
        shown = 0.0

        def show(done: int, total: int) -> None:
            nonlocal shown
            share = done / total if total else 1.0
            advance(share - shown)
            shown = share

        summary = rerank_files(
            requests,
            answers,
            reranker,
            on_error=on_error,
            partition_rows=partition_rows,
            address=address,
            actors=actors,
            gpus_per_actor=gpus_per_actor,
            cpus_per_actor=cpus_per_actor,
            on_progress=show,
        )
    _report(summary, answers, screen, as_json=as_json)


def _report(summary: Summary, answers: Path, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"output": str(answers), **dataclasses.asdict(summary)}))
    else:
        before = f", {summary.resumed} of them from an earlier run" if summary.resumed else ""
        typer.echo(
            f"{answers} holds {counted(summary.rows, 'answer')} in {counted(summary.partitions, 'file')}{before}."
        )
    if summary.redone:
        screen.note(f"{counted(summary.redone, 'file', 'was')} changed since an earlier run, and written again.")
    if summary.errors:
        screen.note(f"{share(summary.errors, summary.rows, 'request')} could not be ranked: see the column error.")
    if described := summary.receipt.describe():
        screen.note(described)
