"""`qwen3-rerank calibrate`: propose the score below which documents should be dropped, if there is one."""

from __future__ import annotations

from typing import Annotated

import typer

from qwen3_rerank_plugins._plurals import agreeing, counted
from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.options import CACHE, ENGINE, SCORING, EngineOptions, engine_options

NO_THRESHOLD = 1
"""The exit code if no threshold separates relevant from irrelevant pairs."""


@engine_options(ENGINE, CACHE, SCORING)
def calibrate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Labeled pairs (JSONL, JSON, CSV, TSV, Parquet) or judged sets; - is stdin."
        ),
    ],
    precision: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Precision to reach; the lowest threshold that reaches it is proposed.",
            show_default="the best F1",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the held-out parts and the bootstrap.")] = 0,
    instruction: options.Instruction = None,
    as_json: options.Json = False,
    *,
    engine: EngineOptions,
) -> None:
    """Propose a threshold for --min-score from labeled pairs, with its precision and recall."""
    import asyncio

    from rich.text import Text

    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.cli.output import Screen, show_record
    from qwen3_rerank_plugins.evaluation import record_of
    from qwen3_rerank_plugins.evaluation.calibration import calibrate_on, check_enough
    from qwen3_rerank_plugins.evaluation.pairs import read_labeled
    from qwen3_rerank_plugins.evaluation.thresholds import check_precision

    screen = Screen(results_for_programs=as_json)
    reranker = engine.reranker()
    check_precision(precision)
    labeled = read_labeled(files)
    check_enough(labeled)  # fails on bad input before the model is loaded
    load(reranker, screen)
    with screen.progress("Scoring", len(labeled.tasks)) as on_progress:
        results = asyncio.run(
            calibrate_on(
                reranker, labeled, precision=precision, instruction=instruction, seed=seed, on_progress=on_progress
            )
        )
    show_record(record_of(results, reranker), screen, as_json=as_json)
    if not as_json:
        screen.show(Text(results.verdict, "bold"))
    if results.unlabelled:
        left_out = results.unlabelled
        screen.note(f"{counted(left_out, 'candidate')} without a label {agreeing(left_out, 'was')} not used.")
    if results.threshold is None:
        raise typer.Exit(NO_THRESHOLD)
