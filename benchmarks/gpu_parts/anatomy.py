"""Where time and memory go in a batch, and what loading takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_parts.stage import Item, Stage, tokenized
from qwen3_rerank_plugins.bench.stopwatch import Measured, measure
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.device_check.engines import OpenedEngine
from qwen3_rerank_plugins.device_check.memory import predicted_bytes
from qwen3_rerank_plugins.device_check.requests import random_requests
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

_SHOWN = 30
_NAME = 160
"""Characters of a kernel's name that are kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class KernelTime:
    """All launches of one kernel during a workload; an operator on a CPU."""

    name: str
    milliseconds: float
    launches: int


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """The kernels of a workload.

    Attributes:
        tokens: unique tokens of its batches.
        batches: number of batches.
        wall_milliseconds: time without the profiler.
        kernel_milliseconds: sum over all kernels.
        launches: number of launches.
        kernels: those that took longest.
    """

    tokens: int
    batches: int
    wall_milliseconds: float
    kernel_milliseconds: float
    launches: int
    kernels: tuple[KernelTime, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class BatchMemory:
    """The largest batch of a workload: its unique tokens, the bytes it took (None if unknown), and the prediction."""

    tokens: int
    growth: int | None
    predicted: int


@dataclasses.dataclass(frozen=True, slots=True)
class LoadingCost:
    """One load: seconds, peak bytes (None if unknown), and the bytes of the weights."""

    seconds: float
    peak: int | None
    weights: int


def profile_kernels(stage: Stage) -> Iterator[Item]:
    """Profile every workload on the first shape."""
    with OpenedEngine(stage.settings(stage.shapes[0])) as engine:
        for workload in stage.draw():
            yield workload.name, lambda workload=workload: _profile(stage, engine, workload)  # type: ignore[misc]


def memory(stage: Stage) -> Iterator[Item]:
    """Measure the largest batch of every workload, and many short documents behind a long prefix."""
    prefix = 8_000 if stage.torch_device.type == "cuda" else 800
    with OpenedEngine(stage.settings(stage.shapes[0])) as engine:
        engine.score(random_requests([(90, [400])]))  # libraries allocate their buffers in the first batch
        for workload in stage.draw():
            yield workload.name, lambda w=workload: _memory(stage, engine, tokenized(w))  # type: ignore[misc]
        behind = random_requests([(prefix, [50] * (prefix // 50))])
        yield f"documents of 50 tokens behind {prefix}", lambda: _memory(stage, engine, behind)


def loading(stage: Stage) -> Iterator[Item]:
    """Load every shape a few times; the first may read the files from the disk."""
    for shape in stage.shapes:
        yield shape, lambda shape=shape: [_load(stage, shape) for _ in range(min(2, stage.rounds))]  # type: ignore[misc]


def _profile(stage: Stage, engine: OpenedEngine, workload: BenchWorkload) -> WorkloadProfile:
    requests, device = tokenized(workload), stage.torch_device
    on_cuda = device.type == "cuda"
    plans = plan_batches([*map(Workload.of, requests)], engine.engine.budget)
    engine.score(requests)
    wall = measure(lambda: engine.score(requests), device).seconds
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as profiled:
        engine.score(requests)
        if on_cuda:
            torch.cuda.synchronize(device)
    rows = [
        KernelTime(
            event.key[:_NAME],
            (event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1e3,
            event.count,
        )
        for event in profiled.key_averages()
    ]
    rows.sort(key=lambda row: row.milliseconds, reverse=True)
    return WorkloadProfile(
        tokens=sum(plan.tokens for plan in plans),
        batches=len(plans),
        wall_milliseconds=wall * 1e3,
        kernel_milliseconds=sum(row.milliseconds for row in rows),
        launches=sum(row.launches for row in rows),
        kernels=tuple(rows[:_SHOWN]),
    )


def _memory(stage: Stage, engine: OpenedEngine, requests: list[TokenizedRequest]) -> BatchMemory:
    plans = plan_batches([*map(Workload.of, requests)], engine.engine.budget)
    largest = max(plans, key=lambda plan: plan.tokens)
    found = measure(lambda: engine.engine.run(requests, largest), stage.torch_device)
    shape = stage.shapes[0]
    predicted = predicted_bytes(stage.subject(shape).shape, stage.settings(shape), largest.tokens)
    return BatchMemory(largest.tokens, found.peak_growth, predicted)


def _load(stage: Stage, shape: str) -> LoadingCost:
    settings, subject = stage.settings(shape), stage.subject(shape)
    torch.empty(1, device=stage.torch_device)
    started = time.perf_counter()
    found: Measured = measure(lambda: OpenedEngine(settings), stage.torch_device)
    seconds = time.perf_counter() - started
    with found.answer:
        return LoadingCost(seconds, found.peak_growth, subject.shape.weight_bytes(torch.bfloat16))
