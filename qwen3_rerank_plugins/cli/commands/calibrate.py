"""`qwen3-rerank calibrate`: the score below which documents are better dropped, or that there is none."""

from __future__ import annotations

from typing import Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL

NONE_SEPARATES = 1


def calibrate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Labelled pairs (JSONL, JSON, CSV, TSV, Parquet) or judged sets; - is stdin."
        ),
    ],
    precision: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The lowest threshold that reaches this precision.", show_default="the best F1"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the parts that are held out, and of the bootstrap.")] = 0,
    as_json: options.Json = False,
    instruction: options.Instruction = None,
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
    """Propose a threshold for --min-score from labelled pairs, with its precision and recall."""
    import asyncio

    from rich.text import Text

    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.cli.output import Screen, show_record
    from qwen3_rerank_plugins.evaluation import record_of
    from qwen3_rerank_plugins.evaluation.calibration import calibrate_on, check_enough
    from qwen3_rerank_plugins.evaluation.pairs import read_labeled
    from qwen3_rerank_plugins.evaluation.thresholds import check_precision
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
    )
    check_precision(precision)
    labelled = read_labeled(files)
    check_enough(labelled)  # bad input shows before a model is loaded for it
    load(reranker, screen)
    with screen.progress("Scoring", len(labelled.tasks)) as on_progress:
        results = asyncio.run(
            calibrate_on(
                reranker,
                labelled,
                precision=precision,
                instruction=instruction,
                seed=seed,
                on_progress=on_progress,
            )
        )
    show_record(record_of(results, reranker), screen, as_json=as_json)
    if not as_json:
        screen.show(Text(results.verdict, "bold"))
    if results.unlabelled:
        screen.note(f"candidates without a label, which were not used: {results.unlabelled:,}.")
    if results.threshold is None:
        raise typer.Exit(NONE_SEPARATES)
