"""`qwen3-rerank bench`: the engine and its peers, measured side by side on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from qwen3_rerank_plugins.cli import options

StudyName = Literal["speed", "savings", "choices", "profile", "together", "memory", "quantization", "windows"]
ShapeChoice = Literal["0.6b", "4b", "8b"]
SizeChoice = Literal["auto", "full", "short"]


def bench(
    study: Annotated[StudyName, typer.Argument(help="What to measure.")] = "speed",
    shape: Annotated[ShapeChoice, typer.Option(help="A published shape, with random weights.")] = "0.6b",
    layers: Annotated[
        int | None, typer.Option(min=1, help="Cut the random model to so many layers.", show_default="all")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help='Real weights: hub id, folder or "demo".', show_default="random weights, which cost the same"
        ),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Only this workload; may be given again.", show_default="all five")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Only this peer beside ours; may be given again.", show_default="all that are installed"),
    ] = None,
    size: Annotated[
        SizeChoice, typer.Option(help='Of the workloads: "auto" is full on CUDA, short elsewhere.')
    ] = "auto",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="How often each workload runs.", show_default='3; "small" runs 36 times'),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the texts.")] = 0,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="Reranking sets to draw texts from; may be given again.", show_default="bundled passages"),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a tokenizer for random weights.", show_default="the demo's")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the record in JSON; the picture of speed goes beside it.")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    attention: options.Attention = "auto",
    quantization: options.Quantization = None,
    compile: options.Compile = False,
    threads: options.Threads = "auto",
) -> None:
    """Measure speed beside the installed peers, or one of the engine's own properties."""
    from rich.text import Text

    from qwen3_rerank_plugins._records import write_record
    from qwen3_rerank_plugins.bench.report import as_table, describe, grids_of
    from qwen3_rerank_plugins.bench.studies import Study, run_study
    from qwen3_rerank_plugins.cli.loading import quiet_libraries, warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.engine.settings import EngineSettings

    screen = Screen()
    asked = Study(
        name=study,
        engine=EngineSettings(
            device=device,
            dtype=dtype,
            attention=attention,
            quantization=quantization,
            threads=threads,
            compile=compile,
        ),
        model=model,
        shape=shape,
        layers=layers,
        tokenizer=tokenizer,
        workloads=tuple(workload or ()),
        peers=tuple(peer or ()),
        size=size,
        rounds=rounds,
        seed=seed,
        texts=tuple(texts or ()),
    )
    if out is not None and study == "speed":
        from qwen3_rerank_plugins.bench.picture import draw_speed  # a missing matplotlib shows before the work
    if model is not None:
        warn_of_size(dataclasses.replace(asked.engine, model=model), screen)
    with screen.steps(f"Measuring {study}") as tell, quiet_libraries():
        record = run_study(asked, tell)
    for grid in grids_of(record):
        screen.show(as_table(grid))
    screen.show(Text(describe(record), "dim"))
    if out is not None:
        write_record(out, record)
        if study == "speed":
            draw_speed(record, out.with_suffix(".png"))
