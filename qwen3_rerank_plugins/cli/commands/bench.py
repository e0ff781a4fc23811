"""`qwen3-rerank bench`: measure the engine and its baselines side by side on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from qwen3_rerank_plugins.cli.options import EngineOptions, engine_options, in_output

StudyName = Literal["speed", "savings", "choices", "profile", "together", "memory", "quantization", "windows"]
ShapeChoice = Literal["0.6b", "4b", "8b"]
SizeChoice = Literal["auto", "full", "short"]


@engine_options(("device", "dtype", "attention", "quantization", "compile", "threads"))
def bench(
    study: Annotated[StudyName, typer.Argument(metavar="STUDY", help="Study to run.")] = "speed",
    shape: Annotated[ShapeChoice, typer.Option(help="Published model shape, with random weights.")] = "0.6b",
    layers: Annotated[
        int | None, typer.Option(min=1, help="Number of layers of the random model.", show_default="all")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help='Model with real weights: a hub ID, a folder or "demo".',
            show_default="random weights, which cost the same",
        ),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Workload to run; may be repeated.", show_default="all five")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Baseline to compare with; may be repeated.", show_default="all that are installed"),
    ] = None,
    size: Annotated[
        SizeChoice, typer.Option(help='Size of the workloads; "auto" is full on CUDA, short elsewhere.')
    ] = "auto",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of runs of each workload.", show_default='3; "small" runs 36 times'),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for the texts.")] = 0,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="Reranking sets to draw texts from; may be repeated.", show_default="bundled passages"),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Tokenizer folder for random weights.", show_default="the demo's")
    ] = None,
    out: Annotated[
        Path | None, in_output(help="File for the JSON record; the chart of speed goes next to it as .png.")
    ] = None,
    *,
    engine: EngineOptions,
) -> None:
    """Measure speed next to the installed baselines, or one property of the engine."""
    from qwen3_rerank_plugins._records import write_record
    from qwen3_rerank_plugins.bench.report import grids_of
    from qwen3_rerank_plugins.bench.studies import Study, run_study
    from qwen3_rerank_plugins.cli.loading import quiet_libraries, warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen, show_grids

    screen = Screen()
    plan = Study(
        name=study,
        engine=engine.reranker().settings,
        model=model,
        shape=shape,
        layers=layers,
        tokenizer=tokenizer,
        workloads=tuple(workload or ()),
        peers=tuple(baseline or ()),
        size=size,
        rounds=rounds,
        seed=seed,
        texts=tuple(texts or ()),
    )
    if out is not None and study == "speed":
        from qwen3_rerank_plugins.bench.picture import draw_speed  # fails before the work if matplotlib is missing
    if model is not None:
        warn_of_size(dataclasses.replace(plan.engine, model=model), screen)
    with screen.steps(f"Measuring {study}") as tell, quiet_libraries():
        record = run_study(plan, tell)
    show_grids(grids_of(record), record, screen)
    if out is not None:
        write_record(out, record)
        if study == "speed":
            draw_speed(record, out.with_suffix(".png"))
