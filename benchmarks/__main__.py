"""Run a study of the engine from a checkout: `python -m benchmarks --help`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from benchmarks.ablations import measure_savings
from benchmarks.alternatives import measure_choices
from benchmarks.concurrency import measure_together
from benchmarks.profile import measure_profile
from benchmarks.quantization import measure_quantization
from benchmarks.report import grids_of
from benchmarks.windows import measure_windows
from qwen3_rerank_plugins.bench.opened import open_model
from qwen3_rerank_plugins.bench.studies import Measurement, PreparedStudy, Study
from qwen3_rerank_plugins.cli.commands import bench
from qwen3_rerank_plugins.cli.options import EngineOptions, engine_options, in_output
from qwen3_rerank_plugins.engine.settings import Dtype
from qwen3_rerank_plugins.errors import RerankError

StudyName = Literal["savings", "choices", "profile", "together", "quantization", "windows"]


def _savings(study: PreparedStudy) -> Any:
    return measure_savings(study.workloads, open_model(study.settings), study.rounds, study.tell)


def _choices(study: PreparedStudy) -> Any:
    other: Dtype = "bfloat16" if study.placement.dtype != torch.bfloat16 else "float16"
    other_model = open_model(dataclasses.replace(study.settings, dtype=other))
    model = open_model(study.settings)  # after the other, so that its budget leaves room for both
    requests = model.encode(request for workload in study.workloads for request in workload.requests)
    return measure_choices(requests, model, other_model, study.rounds, study.tell)


def _quantization(study: PreparedStudy) -> Any:
    return measure_quantization(
        study.subject.folder,
        study.subject.label,
        [
            (request.query, document)
            for workload in study.workloads
            for request in workload.requests
            for document in request.documents
        ],
        device=study.settings.device,
        dtype=study.settings.dtype,
        rounds=study.rounds,
        tell=study.tell,
    )


MEASUREMENTS: dict[str, Measurement] = {
    "savings": _savings,
    "choices": _choices,
    "profile": lambda study: measure_profile(study.workloads, open_model(study.settings), study.tell),
    "together": lambda study: measure_together(study.text, study.settings, study.rounds, study.tell),
    "quantization": _quantization,
    "windows": lambda study: measure_windows(study.study.texts, study.settings, study.tell),
}


@engine_options(bench.ENGINE)
def main(
    study: Annotated[StudyName, typer.Argument(metavar="STUDY", help="Study to run.")],
    shape: bench.Shape = "0.6b",
    layers: bench.Layers = None,
    model: bench.Model = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Workload to run; may be repeated.", show_default="passages")
    ] = None,
    size: bench.WorkloadSize = "auto",
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of runs.", show_default="3")] = None,
    seed: bench.Seed = 0,
    texts: bench.Texts = None,
    tokenizer: bench.Tokenizer = None,
    out: Annotated[Path | None, in_output(help="File for the JSON record.")] = None,
    *,
    engine: EngineOptions,
) -> None:
    """Measure one property of the engine and print tables.

    Studies: each exact saving switched off in turn (savings), design choices and their alternatives (choices), time per
    operator (profile), sixteen concurrent callers (together), memory, speed and accuracy of each quantization mode
    (quantization), and long documents in windows (windows; needs judged sets from --texts). `python -m
    benchmarks.cpu_threads` and `python -m benchmarks.model_card` are separate programs.
    """
    plan = Study(
        name=study,
        engine=engine.reranker().settings,
        model=model,
        shape=shape,
        layers=layers,
        tokenizer=tokenizer,
        workloads=tuple(workload or ()),
        size=size,
        rounds=rounds,
        seed=seed,
        texts=tuple(texts or ()),
    )
    bench.run_and_show(plan, out, MEASUREMENTS, grids_of)


if __name__ == "__main__":
    try:
        typer.run(main)
    except RerankError as error:
        sys.exit(str(error))
