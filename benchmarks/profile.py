"""The study of where the time goes: a workload from text to log-odds, operator by operator."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.workloads import BenchWorkload

_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """An operator's time without nested operators, as a share of the time of the workload."""

    workload: str
    operator: str
    share: float
    calls: int


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileResults:
    """The largest shares of each workload, and the sum of all others."""

    shares: tuple[Share, ...]


def measure_profile(workloads: Sequence[BenchWorkload], model: OpenedModel, tell: OnStep) -> ProfileResults:
    """Profile each workload once, after a run to warm up.

    Args:
        workloads: what to score.
        model: the model.
        tell: called before every step.
    """
    device, run = model.loaded.placement.device, model.runner()
    on_cuda = device.type == "cuda"
    shares: list[Share] = []
    for workload in workloads:
        tell(workload.name)
        started = time.perf_counter()
        requests = model.encode(workload.requests)
        plans = model.plan(requests)
        tokenizing = time.perf_counter() - started
        for plan in plans:
            run(requests, plan)
        started = time.perf_counter()
        with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as profiled:
            for plan in plans:
                run(requests, plan)
            if on_cuda:
                torch.cuda.synchronize(device)
        total = tokenizing + time.perf_counter() - started
        operators = sorted(
            (
                ((event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1e6, event.key, event.count)
                for event in profiled.key_averages()
            ),
            reverse=True,
        )
        found = [Share(workload.name, "tokenizing and planning", tokenizing / total, 1)]
        found += [Share(workload.name, key, seconds / total, count) for seconds, key, count in operators[:_SHOWN]]
        others = 1 - sum(share.share for share in found)
        calls = sum(count for *_, count in operators[_SHOWN:])
        shares += [*found, Share(workload.name, "everything else", others, calls)]
    return ProfileResults(tuple(shares))
