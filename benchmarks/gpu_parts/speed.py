"""Times: beside sentence-transformers, with each kind of kernels and each quantization, and the latency of one call."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import torch

from benchmarks.gpu_parts.stage import Item, Stage, flops_of
from benchmarks.quantization import Faithfulness, compare
from qwen3_rerank_plugins.bench.baselines import make_baselines
from qwen3_rerank_plugins.bench.cost import measure_gemm_rate
from qwen3_rerank_plugins.bench.speed import SpeedPlan, SpeedResults, measure_speed
from qwen3_rerank_plugins.bench.stopwatch import Measured, Spread, largest_growth, measure
from qwen3_rerank_plugins.bench.texts import read_passages
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.device_check.variants import names_of, with_settings
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.settings import EngineSettings, Quantization

_CALLS = 30
"""Calls per round of the study of latency."""


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """One workload with one setting.

    Attributes:
        seconds: time of a call with the whole workload.
        share_of_gemm_rate: FLOPs of the unique tokens / median seconds / GEMM rate measured in the same process.
        peak_growth: peak bytes during a call minus the bytes before it; None if unknown.
        difference: log-odds compared with those of the default settings.
    """

    seconds: Spread
    share_of_gemm_rate: float
    peak_growth: int | None
    difference: Faithfulness


@dataclasses.dataclass(frozen=True, slots=True)
class VariantTimings:
    """All workloads with one setting. `warmup_seconds` covers loading, compiling and one small batch."""

    warmup_seconds: float
    workloads: dict[str, Timing]


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Calls of one caller, one after the other, in seconds.

    Attributes:
        calls: number of calls.
        p50: median.
        p95: 95th percentile.
        floor: FLOPs of the unique tokens / the measured GEMM rate.
    """

    calls: int
    p50: float
    p95: float
    floor: float


def beside_others(stage: Stage, shape: str, dtype: str) -> Iterator[Item]:
    """Measure the engine and sentence-transformers in turns."""

    def run() -> SpeedResults:
        subject, settings = stage.subject(shape), stage.settings(shape, dtype)
        device, torch_dtype = stage.torch_device, getattr(torch, dtype)
        installed = make_baselines(subject.folder, settings, device, torch_dtype)
        plan = SpeedPlan(
            workloads=stage.workloads,
            baselines=[name for name in ("st",) if name in installed],
            size=stage.size,
            rounds=stage.rounds,
            seed=0,
            passages=read_passages([]),
            texts="bundled passages",
        )
        return measure_speed(plan, subject, settings, device, torch_dtype, lambda _: None)

    yield f"{shape}, {dtype}", run


def kernels(stage: Stage) -> Iterator[Item]:
    """Measure each kind of kernels, and compiled layers."""
    options: dict[str, dict[str, Any]] = {f"kernels {name}": {"kernels": name} for name in names_of("kernels")}
    if stage.torch_device.type == "cuda":  # elsewhere it takes minutes
        options["compiled"] = {"compile": True, "kernels": "torch"}
    yield from _variants(stage, options)


def attention(stage: Stage) -> Iterator[Item]:
    """Measure each attention kernel."""
    yield from _variants(stage, {f"attention {name}": {"attention": name} for name in names_of("attention")})


def quantization(stage: Stage) -> Iterator[Item]:
    """Measure each quantization mode, and how far the scores move."""
    yield from _variants(stage, {name: {"quantization": name} for name in get_args(Quantization)})


def latency(stage: Stage) -> Iterator[Item]:
    """Measure single calls of the workload "small" with every shape."""
    for shape in stage.shapes:
        yield shape, lambda shape=shape: _latency(stage, shape)  # type: ignore[misc]


def _variants(stage: Stage, options: Mapping[str, Mapping[str, Any]]) -> Iterator[Item]:
    """Yield the GEMM rate, the default settings of the first shape, and the options."""
    shape, workloads = stage.shapes[0], stage.draw()
    settings = stage.settings(shape)
    rate = measure_gemm_rate(stage.subject(shape).shape, torch.bfloat16, stage.torch_device)
    floors = {workload.name: flops_of(workload, shape) / rate for workload in workloads}
    reference: dict[str, list[float]] = {}

    def run(variant: EngineSettings) -> VariantTimings:
        return _time_variant(variant, workloads, stage, floors, reference)

    yield "gemm_flops_per_second", lambda: rate
    yield "default", lambda: run(settings)
    for name, changed in options.items():
        yield name, lambda changed=changed: run(with_settings(settings, **changed))  # type: ignore[misc]


def _time_variant(
    settings: EngineSettings,
    workloads: list[BenchWorkload],
    stage: Stage,
    floors: Mapping[str, float],
    reference: dict[str, list[float]],
) -> VariantTimings:
    timings = {}
    with contextlib.closing(LocalScorer(settings)) as scorer:
        started = time.perf_counter()
        scorer.warmup()
        warmup = time.perf_counter() - started
        for workload in workloads:
            _score(scorer, workload)
            runs: list[Measured] = [
                measure(lambda workload=workload: _score(scorer, workload), stage.torch_device)  # type: ignore[misc]
                for _ in range(stage.rounds)
            ]
            seconds = Spread.of([run.seconds for run in runs])
            exact = reference.setdefault(workload.name, runs[0].answer)
            timings[workload.name] = Timing(
                seconds=seconds,
                share_of_gemm_rate=floors[workload.name] / seconds.median,
                peak_growth=largest_growth(runs),
                difference=compare([runs[0].answer], [exact]),
            )
    return VariantTimings(warmup, timings)


def _latency(stage: Stage, shape: str) -> Latency:
    small = dataclasses.replace(stage, workloads=("small",)).draw()[0]
    rate = measure_gemm_rate(stage.subject(shape).shape, torch.bfloat16, stage.torch_device)
    with contextlib.closing(LocalScorer(stage.settings(shape))) as scorer:
        scorer.warmup()
        _score(scorer, small)
        seconds = sorted(
            measure(lambda: _score(scorer, small), stage.torch_device).seconds for _ in range(_CALLS * stage.rounds)
        )
    p95 = seconds[math.ceil(0.95 * len(seconds)) - 1]  # nearest rank
    return Latency(len(seconds), statistics.median(seconds), p95, flops_of(small, shape) / rate)


def _score(scorer: LocalScorer, workload: BenchWorkload) -> list[float]:
    """Return the log-odds of all documents, request by request, in their order."""
    futures = [scorer.submit(request) for request in workload.requests]
    return [log_odds for future in futures for log_odds in future.result().log_odds]
