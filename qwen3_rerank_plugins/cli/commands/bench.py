"""`qwen3-rerank bench`: speed beside the installed baselines, and memory, on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qwen3_rerank_plugins.cli import options

if TYPE_CHECKING:  # these import torch, which --help must not wait for
    from qwen3_rerank_plugins._records import Grid, Record
    from qwen3_rerank_plugins.bench.studies import Measurement, Study

StudyName = Literal["speed", "memory"]
ShapeChoice = Literal["0.6b", "4b", "8b"]
SizeChoice = Literal["auto", "full", "short"]

Shape = Annotated[ShapeChoice, typer.Option(help="Published shape of the model with random weights.")]
Layers = Annotated[
    int | None, typer.Option(min=1, help="Number of layers of the model with random weights.", show_default="all")
]
Model = Annotated[
    str | None,
    typer.Option(
        help='Hub ID or folder of real weights, or "demo".', show_default="random weights, which cost the same"
    ),
]
WorkloadSize = Annotated[
    SizeChoice, typer.Option(help='Size of the workloads: "auto" is full on CUDA, short elsewhere.')
]
Seed = Annotated[int, typer.Option(help="Random seed for the texts.")]
Texts = Annotated[
    list[Path] | None,
    typer.Option(help="Reranking set to draw texts from; may be repeated.", show_default="bundled passages"),
]
Tokenizer = Annotated[
    Path | None,
    typer.Option(help="Folder of a tokenizer for the model with random weights.", show_default="the demo's"),
]


def bench(
    study: Annotated[StudyName, typer.Argument(help="The study to run.")] = "speed",
    shape: Shape = "0.6b",
    layers: Layers = None,
    model: Model = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Workload to run; may be repeated.", show_default="all five")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Baseline to run beside our engine; may be repeated.", show_default="all that are installed"),
    ] = None,
    size: WorkloadSize = "auto",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds of each workload.", show_default='3; "small" runs 36 times'),
    ] = None,
    seed: Seed = 0,
    texts: Texts = None,
    tokenizer: Tokenizer = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the record in JSON; the picture of a speed study goes beside it.")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    attention: options.Attention = "auto",
    quantization: options.Quantization = None,
    compile: options.Compile = False,
    threads: options.Threads = "auto",
) -> None:
    """Measure speed beside the installed baselines, or memory."""
    from qwen3_rerank_plugins.bench.report import grids_of
    from qwen3_rerank_plugins.bench.studies import MEASUREMENTS, Study
    from qwen3_rerank_plugins.engine.settings import EngineSettings

    if out is not None and study == "speed":
        from qwen3_rerank_plugins.bench.picture import draw_speed  # a missing matplotlib is reported before the work
    engine = EngineSettings(
        device=device, dtype=dtype, attention=attention, quantization=quantization, threads=threads, compile=compile
    )
    record = run_and_show(
        Study(
            name=study,
            engine=engine,
            model=model,
            shape=shape,
            layers=layers,
            tokenizer=tokenizer,
            workloads=tuple(workload or ()),
            baselines=tuple(peer or ()),
            size=size,
            rounds=rounds,
            seed=seed,
            texts=tuple(texts or ()),
        ),
        out,
        MEASUREMENTS,
        grids_of,
    )
    if out is not None and study == "speed":
        draw_speed(record, out.with_suffix(".png"))


def run_and_show(
    study: Study,
    out: Path | None,
    measurements: Mapping[str, Measurement],
    grids_of: Callable[[Record], list[Grid]],
) -> dict[str, Any]:
    """Run a study with a progress display, print its tables, write its record, and return it.

    Args:
        study: what to measure.
        out: file for the record.
        measurements: the studies by name.
        grids_of: function that returns the tables of a record.
    """
    from rich.text import Text

    from qwen3_rerank_plugins._records import as_table, describe, write_record
    from qwen3_rerank_plugins.bench.studies import run_study
    from qwen3_rerank_plugins.cli.loading import quiet_libraries, warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen

    screen = Screen()
    if study.model is not None:
        warn_of_size(dataclasses.replace(study.engine, model=study.model), screen)
    with screen.steps(f"Measuring {study.name}") as tell, quiet_libraries():
        record = run_study(study, tell, measurements)
    for grid in grids_of(record):
        screen.show(as_table(grid))
    screen.show(Text(describe(record), "dim"))
    if out is not None:
        write_record(out, record)
    return record
