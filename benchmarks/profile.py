"""The study of where the time goes: a workload from text to log-odds, operator by operator.

Comes in: requests, a loaded model. Goes out: `ProfileResults`.
Must not know: peers, tables.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder

_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """One operator's own time, calls inside it not counted, as a share of the workload's."""

    workload: str
    operator: str
    share: float
    calls: int


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileResults:
    """The largest shares of each workload, and what is left."""

    shares: tuple[Share, ...]


def measure_profile(
    workloads: Sequence[BenchWorkload], loaded: LoadedModel, encoder: PromptEncoder, budget: int, tell: OnStep
) -> ProfileResults:
    """Profile each workload once, after a run to warm up.

    Args:
        workloads: what to score.
        loaded: the model.
        encoder: of its tokenizer.
        budget: unique tokens in a pass.
        tell: called before every step.
    """
    device = loaded.placement.device
    model = PackedModel(
        loaded.causal_lm.model, loaded.placement.attention.attend, rows_at_once=loaded.placement.rows_at_once
    )
    run = ModelRunner(model, YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id), device)
    on_cuda = device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if on_cuda else [ProfilerActivity.CPU]
    shares: list[Share] = []
    for workload in workloads:
        tell(workload.name)
        started = time.perf_counter()
        requests = [encoder.encode(build_prompt(request), request.max_length) for request in workload.requests]
        plans = plan_batches([Workload(len(r.prefix), tuple(map(len, r.document_ids))) for r in requests], budget)
        tokenising = time.perf_counter() - started
        for plan in plans:
            run(requests, plan)
        started = time.perf_counter()
        with profile(activities=activities) as profiled:
            for plan in plans:
                run(requests, plan)
            if on_cuda:
                torch.cuda.synchronize(device)
        total = tokenising + time.perf_counter() - started
        own = sorted(
            (
                ((event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1e6, event.key, event.count)
                for event in profiled.key_averages()
            ),
            reverse=True,
        )
        found = [Share(workload.name, "tokenising and planning", tokenising / total, 1)]
        found += [Share(workload.name, key, seconds / total, count) for seconds, key, count in own[:_SHOWN]]
        rest = 1 - sum(share.share for share in found)
        shares += [*found, Share(workload.name, "everything else", rest, sum(count for *_, count in own[_SHOWN:]))]
    return ProfileResults(tuple(shares))
