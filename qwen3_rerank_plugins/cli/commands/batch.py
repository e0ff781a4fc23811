"""`qwen3-rerank batch`: a file of requests reranked on a Ray cluster, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.ray import Summary

_CLUSTER = "Cluster"


def batch(
    requests: Annotated[Path, typer.Argument(metavar="INPUT", help="JSONL or Parquet file, or a folder of them.")],
    answers: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the answers; made if need be.")],
    on_error: Annotated[
        Literal["raise", "column"], typer.Option(help="A bad row ends the job, or has its error in a column.")
    ] = "raise",
    partition_rows: Annotated[int, typer.Option(min=1, help="Rows that are written, and resumed, as one.")] = 256,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster.", show_default="RAY_ADDRESS, or one started here", rich_help_panel=_CLUSTER
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Loaded models.", show_default="one a GPU; one without GPUs", rich_help_panel=_CLUSTER
        ),
    ] = None,
    gpus_per_actor: Annotated[
        float | None,
        typer.Option(min=0, help="May be a fraction.", show_default="1 where there are GPUs", rich_help_panel=_CLUSTER),
    ] = None,
    cpus_per_actor: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="As many threads has its torch.",
            show_default="1 beside a GPU; else an equal share of all",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
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
) -> None:
    """Rerank a file of requests on a Ray cluster, and go on where an earlier run stopped."""
    from qwen3_rerank_plugins.cli.loading import warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.ray import rerank_files
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
        instruction=instruction,
        top_n=top_n,
        min_score=min_score,
        max_length=max_length,
        long_documents=long_documents,
        on_nonfinite=on_nonfinite,
        max_batch_tokens=max_batch_tokens,
        threads=threads,
        compile=compile,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        trust_remote_code=trust_remote_code,
    )
    if address is None and "RAY_ADDRESS" not in os.environ:  # else the model is loaded on other machines
        warn_of_size(reranker.settings, screen)
    # Ray prints what befell its workers to stdout, which is for results
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
        screen.note(f"{counted(summary.redone, 'file', 'was')} not as an earlier run had left it, and made anew.")
    if summary.errors:
        screen.note(f"{share(summary.errors, summary.rows, 'request')} could not be ranked: column error says why.")
    if described := summary.receipt.describe():
        screen.note(described)
