"""`qwen3-rerank eval`: measure the order of judged sets before and after reranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.options import CACHE, ENGINE, SCORING, EngineOptions, engine_options


@engine_options(ENGINE, CACHE, SCORING)
def eval(
    files: Annotated[list[str], typer.Argument(metavar="SET", help="Judged reranking sets: JSONL, JSON or Parquet.")],
    k: Annotated[
        int, typer.Option("--k", min=1, help="Cutoff rank of nDCG and recall; MRR and MAP use all ranks.")
    ] = 10,
    resamples: Annotated[
        int, typer.Option(min=1, help="Number of bootstrap resamples for the confidence intervals.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, options.in_output(help="File for the JSON record; a chart goes next to it as .png.")
    ] = None,
    instruction: options.Instruction = None,
    as_json: options.Json = False,
    *,
    engine: EngineOptions,
) -> None:
    """Measure nDCG, MRR, recall and MAP of judged sets, in their given order and reranked."""
    import asyncio

    from qwen3_rerank_plugins._records.record import write_record
    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.cli.output import Screen, show_record
    from qwen3_rerank_plugins.evaluation import record_of
    from qwen3_rerank_plugins.evaluation.comparison import compare
    from qwen3_rerank_plugins.evaluation.judged import survey
    from qwen3_rerank_plugins.evaluation.report import remarks_of

    if out is not None:
        from qwen3_rerank_plugins.evaluation.picture import draw  # fails before the work if matplotlib is missing
    screen = Screen(results_for_programs=as_json)
    reranker = engine.reranker()
    sets = survey(files)  # fails on bad input before the model is loaded
    load(reranker, screen)
    with screen.progress("Evaluating", sum(found.queries for found in sets)) as on_progress:
        results = asyncio.run(
            compare(
                reranker, sets, k=k, instruction=instruction, resamples=resamples, seed=seed, on_progress=on_progress
            )
        )
    record = record_of(results, reranker)
    show_record(record, screen, as_json=as_json)
    for remark in remarks_of(record):
        screen.note(remark)
    if out is not None:
        write_record(out, record)
        draw(record, out.with_suffix(".png"))
