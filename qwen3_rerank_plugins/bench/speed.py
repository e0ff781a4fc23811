"""The study of speed: our engine and the baselines take turns on every workload; score differences are recorded too."""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable, Mapping, Sequence

import torch
from tokenizers import Tokenizer

from qwen3_rerank_plugins.bench.baselines import make_baselines
from qwen3_rerank_plugins.bench.cost import TokenCount, count_card_flops, count_flops, count_tokens, measure_gemm_rate
from qwen3_rerank_plugins.bench.stopwatch import (
    Measured,
    Spread,
    largest_difference,
    largest_growth,
    ratios,
    take_turns,
)
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.bench.workloads import RECIPES, ROUNDS, BenchWorkload, Size, draw_workload
from qwen3_rerank_plugins.engine.loading.budget import LARGEST_AUTO_BUDGET
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder

OnStep = Callable[[str], None]
"""Called with a description of the next step."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedRow:
    """One implementation on one workload.

    Attributes:
        peer: name of the implementation: "ours" or a baseline.
        note: its settings.
        seconds: time of one call with the whole workload.
        ratio: how many times as long as ours it took, turn by turn; 1 for ours.
        documents_per_second: documents per second at the median time.
        share_of_gemm_rate: FLOPs of the unique tokens / seconds / measured GEMM rate. A baseline that computes prefixes
            again has a low share although its kernels may be busy, because only useful work counts.
        largest_difference: largest difference of its log-odds from ours.
        peak_growth: peak memory during a call minus memory before it, in bytes; None if unknown.
    """

    peer: str
    note: str
    seconds: Spread
    ratio: Spread
    documents_per_second: float
    share_of_gemm_rate: float
    largest_difference: float
    peak_growth: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadResults:
    """One workload: its size, its cost, and the time of each implementation.

    Attributes:
        flops: FLOPs of the unique tokens, which ours computes.
        card_flops: FLOPs of the model card's script. Divided by `flops`, they are how many times as fast as the script
            an implementation can be without a higher rate of FLOPs.
    """

    name: str
    rounds: int
    queries: int
    documents: int
    mean_tokens: float
    tokens: TokenCount
    flops: float
    card_flops: float
    rows: tuple[SpeedRow, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedResults:
    """All workloads, and the FLOP/s of this machine in plain matrix products."""

    rounds: int
    seed: int
    texts: str
    gemm_flops_per_second: float
    workloads: tuple[WorkloadResults, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedPlan:
    """What to run.

    Attributes:
        workloads: names of workloads.
        baselines: names of baselines; our engine always runs.
        size: size of the workloads.
        rounds: rounds of every workload; None takes the number of each recipe.
        seed: random seed for the texts.
        passages: source of the texts.
        texts: name of that source in the record.
    """

    workloads: Sequence[str]
    baselines: Sequence[str]
    size: Size
    rounds: int | None
    seed: int
    passages: Sequence[str]
    texts: str

    def rounds_of(self, workload: str) -> int:
        """Return the number of rounds of a workload."""
        return self.rounds or RECIPES[workload].rounds


def measure_speed(
    plan: SpeedPlan, subject: Subject, settings: EngineSettings, device: torch.device, dtype: torch.dtype, tell: OnStep
) -> SpeedResults:
    """Load all implementations, then let them take turns, workload by workload.

    Args:
        plan: what to run.
        subject: the model.
        settings: how our engine loads it; `settings.model` is the subject's folder.
        device: the device of every implementation.
        dtype: the dtype of every implementation.
        tell: called before every step.
    """
    encoder = PromptEncoder(subject.folder / "tokenizer.json")
    text = RealText(plan.passages, Tokenizer.from_file(str(subject.folder / "tokenizer.json")), plan.seed)
    gemm_rate = measure_gemm_rate(subject.shape, dtype, device)
    budget = LARGEST_AUTO_BUDGET if settings.max_batch_tokens == "auto" else settings.max_batch_tokens
    makers = make_baselines(subject.folder, settings, device, dtype)
    implementations = {name: makers[name]() for name in ("ours", *plan.baselines)}
    results = []
    for name in plan.workloads:
        workload = draw_workload(name, text, plan.size)
        for implementation, scorer in implementations.items():
            tell(f"{name}: {implementation} gets ready")
            scorer.prepare(workload.requests)
        turns = take_turns(
            {
                implementation: functools.partial(scorer.score, workload.requests)
                for implementation, scorer in implementations.items()
            },
            plan.rounds_of(name),
            device,
            lambda implementation, turn, name=name: tell(f"{name}: {implementation}, round {turn + 1}"),  # type: ignore[misc]
        )
        tokenized = [encoder.encode(build_prompt(request), request.max_length) for request in workload.requests]
        flops = count_flops(tokenized, subject.shape, budget)
        lengths = [len(request.document_ids[unique]) for request in tokenized for unique in request.inverse_index]
        results.append(
            WorkloadResults(
                name=workload.name,
                rounds=len(turns["ours"]),
                queries=len(workload.requests),
                documents=workload.documents,
                mean_tokens=sum(lengths) / len(lengths),
                tokens=count_tokens(tokenized, budget),
                flops=flops,
                card_flops=count_card_flops(tokenized, subject.shape),
                rows=tuple(
                    _row(implementation, scorer.note, workload, turns, flops / gemm_rate)
                    for implementation, scorer in implementations.items()
                ),
            )
        )
        gc.collect()
    return SpeedResults(plan.rounds or ROUNDS, plan.seed, plan.texts, gemm_rate, tuple(results))


def _row(
    name: str, note: str, workload: BenchWorkload, turns: Mapping[str, list[Measured]], ideal_seconds: float
) -> SpeedRow:
    runs, ours = turns[name], turns["ours"]
    seconds = Spread.of([run.seconds for run in runs])
    return SpeedRow(
        peer=name,
        note=note,
        seconds=seconds,
        ratio=ratios(ours, runs),
        documents_per_second=workload.documents / seconds.median,
        share_of_gemm_rate=ideal_seconds / seconds.median,
        largest_difference=largest_difference(ours[0], runs[0]),
        peak_growth=largest_growth(runs),
    )
