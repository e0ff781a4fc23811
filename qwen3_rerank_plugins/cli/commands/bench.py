"""`qwen3-rerank bench`: measure speed next to the installed baselines, or memory, on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qwen3_rerank_plugins.cli.options import EngineOptions, engine_options, in_output

if TYPE_CHECKING:  # these import torch, which --help must not wait for
    from qwen3_rerank_plugins._records.record import Grid, Record
    from qwen3_rerank_plugins.bench.studies import Measurement, Study

StudyName = Literal["speed", "memory"]
ShapeChoice = Literal["0.6b", "4b", "8b"]
SizeChoice = Literal["auto", "full", "short"]
ENGINE = ("device", "dtype", "attention", "kernels", "quantization", "compile", "threads")
"""The engine options of a study."""

Shape = Annotated[ShapeChoice, typer.Option(help="Published model shape, with random weights.")]
Layers = Annotated[int | None, typer.Option(min=1, help="Number of layers of the random model.", show_default="all")]
Model = Annotated[
    str | None,
    typer.Option(
        help='Model with real weights: a hub ID, a folder or "demo".',
        show_default="random weights, which cost the same",
    ),
]
WorkloadSize = Annotated[
    SizeChoice, typer.Option(help='Size of the workloads; "auto" is full on CUDA, short elsewhere.')
]
Seed = Annotated[int, typer.Option(help="Random seed for the texts.")]
Texts = Annotated[
    list[Path] | None,
    typer.Option(help="Reranking sets to draw texts from; may be repeated.", show_default="bundled passages"),
]
Tokenizer = Annotated[Path | None, typer.Option(help="Tokenizer folder for random weights.", show_default="the demo's")]


@engine_options(ENGINE)
def bench(
    study: Annotated[StudyName, typer.Argument(metavar="STUDY", help="Study to run.")] = "speed",
    shape: Shape = "0.6b",
    layers: Layers = None,
    model: Model = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Workload to run; may be repeated.", show_default="all five")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Baseline to compare with; may be repeated.", show_default="all that are installed"),
    ] = None,
    size: WorkloadSize = "auto",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of runs of each workload.", show_default='3; "small" runs 36 times'),
    ] = None,
    seed: Seed = 0,
    texts: Texts = None,
    tokenizer: Tokenizer = None,
    out: Annotated[
        Path | None, in_output(help="File for the JSON record; the chart of speed goes next to it as .png.")
    ] = None,
    *,
    engine: EngineOptions,
) -> None:
    """Measure speed next to the installed baselines, or memory."""
    from qwen3_rerank_plugins.bench.report import grids_of
    from qwen3_rerank_plugins.bench.studies import MEASUREMENTS, Study

    if out is not None and study == "speed":
        from qwen3_rerank_plugins.bench.picture import draw_speed  # fails before the work if matplotlib is missing
    plan = Study(
        name=study,
        engine=engine.reranker().settings,
        model=model,
        shape=shape,
        layers=layers,
        tokenizer=tokenizer,
        workloads=tuple(workload or ()),
        baselines=tuple(baseline or ()),
        size=size,
        rounds=rounds,
        seed=seed,
        texts=tuple(texts or ()),
    )
    record = run_and_show(plan, out, MEASUREMENTS, grids_of)
    if out is not None and study == "speed":
        draw_speed(record, out.with_suffix(".png"))


def run_and_show(
    plan: Study, out: Path | None, measurements: Mapping[str, Measurement], grids_of: Callable[[Record], list[Grid]]
) -> dict[str, Any]:
    """Run a study with a progress display, print its tables, write its record, and return it.

    Args:
        plan: what to measure.
        out: file for the record.
        measurements: the studies by name.
        grids_of: function that returns the tables of a record.
    """
    from qwen3_rerank_plugins._records.record import write_record
    from qwen3_rerank_plugins.bench.studies import run_study
    from qwen3_rerank_plugins.cli.loading import quiet_libraries, warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen, show_grids

    screen = Screen()
    if plan.model is not None:
        warn_of_size(dataclasses.replace(plan.engine, model=plan.model), screen)
    with screen.steps(f"Measuring {plan.name}") as tell, quiet_libraries():
        record = run_study(plan, tell, measurements)
    show_grids(grids_of(record), record, screen)
    if out is not None:
        write_record(out, record)
    return record
