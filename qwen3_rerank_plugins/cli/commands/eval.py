"""`qwen3-rerank eval`: how good the order of judged sets is, before and after reranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL


def eval(
    files: Annotated[list[str], typer.Argument(metavar="SET", help="Judged reranking sets: JSONL, JSON or Parquet.")],
    k: Annotated[
        int, typer.Option("--k", min=1, help="Places that nDCG and recall look at; MRR and MAP look at all.")
    ] = 10,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap that gives the intervals.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the record in JSON; a picture goes beside it.")] = None,
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
    """Measure nDCG, MRR, recall and MAP of judged sets, in their own order and reranked."""
    import asyncio

    from qwen3_rerank_plugins._records import write_record
    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.cli.output import Screen, show_record
    from qwen3_rerank_plugins.evaluation import record_of
    from qwen3_rerank_plugins.evaluation.comparison import compare
    from qwen3_rerank_plugins.evaluation.judged import survey
    from qwen3_rerank_plugins.evaluation.report import remarks_of
    from qwen3_rerank_plugins.reranker import Qwen3Reranker

    if out is not None:
        from qwen3_rerank_plugins.evaluation.picture import draw  # a missing matplotlib shows before the work
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
    sets = survey(files)  # bad input shows before a model is loaded for it
    load(reranker, screen)
    with screen.progress("Evaluating", sum(found.queries for found in sets)) as on_progress:
        results = asyncio.run(
            compare(
                reranker,
                sets,
                k=k,
                instruction=instruction,
                resamples=resamples,
                seed=seed,
                on_progress=on_progress,
            )
        )
    record = record_of(results, reranker)
    show_record(record, screen, as_json=as_json)
    for remark in remarks_of(record):
        screen.note(remark)
    if out is not None:
        write_record(out, record)
        draw(record, out.with_suffix(".png"))
