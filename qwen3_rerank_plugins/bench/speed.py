"""The study of speed: every workload by every peer, in turns, with the score differences beside the times.

Comes in: a subject, settings, names. Goes out: `SpeedResults`.
Must not know: tables, files.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer

from qwen3_rerank_plugins.bench.baselines import Baseline, make_baselines
from qwen3_rerank_plugins.bench.cost import TokenCount, count_flops, count_tokens, measure_gemm_rate
from qwen3_rerank_plugins.bench.stopwatch import Measured, Spread, ratios, take_turns
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.bench.workloads import RECIPES, ROUNDS, BenchWorkload, Size, draw_workload
from qwen3_rerank_plugins.engine.loading.budget import LARGEST_AUTO_BUDGET
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest

OnStep = Callable[[str], None]
"""Told what comes next."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedRow:
    """One peer on one workload.

    Attributes:
        peer, note: who, and with which settings.
        seconds: of one call with the whole workload.
        ratio: how many times as long as ours it took, turn by turn; 1 for ours.
        documents_per_second: at the median.
        share_of_gemm_rate: FLOPs of the unique tokens over seconds and the measured GEMM rate. A peer that computes
            prefixes again has a low share here although its kernels may be busy: the question is the user's.
        largest_difference: of its log-odds to ours.
        peak_growth: bytes above what was allocated before the call, at most; None where unknown.
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
    """One workload: what it is, what it costs, who took how long."""

    name: str
    rounds: int
    queries: int
    documents: int
    mean_tokens: float
    tokens: TokenCount
    flops: float
    rows: tuple[SpeedRow, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedResults:
    """All workloads, and the machine's own rate."""

    rounds: int
    seed: int
    texts: str
    gemm_flops_per_second: float
    workloads: tuple[WorkloadResults, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedPlan:
    """What to run.

    Attributes:
        workloads, peers: names; "ours" is always among the peers.
        size: of the workloads.
        rounds: how often each peer runs each workload; None is as often as its recipe says.
        seed: of the texts.
        passages: where the texts come from, and `texts` what to call that.
    """

    workloads: Sequence[str]
    peers: Sequence[str]
    size: Size
    rounds: int | None
    seed: int
    passages: Sequence[str]
    texts: str

    @property
    def steps(self) -> int:
        """How often `OnStep` will be told something."""
        return len(self.peers) * sum(1 + self.rounds_of(name) for name in self.workloads)

    def rounds_of(self, workload: str) -> int:
        """How often each peer runs a workload."""
        return self.rounds or RECIPES[workload].rounds


def measure_speed(
    plan: SpeedPlan, subject: Subject, settings: EngineSettings, device: torch.device, dtype: torch.dtype, tell: OnStep
) -> SpeedResults:
    """Load every peer, then take turns workload by workload.

    Args:
        plan: what to run.
        subject: the model.
        settings: how our engine loads it; `settings.model` is the subject's folder.
        device: the same for every peer.
        dtype: the same for every peer.
        tell: called before every step.
    """
    encoder = PromptEncoder(subject.folder / "tokenizer.json")
    text = RealText(plan.passages, Tokenizer.from_file(str(subject.folder / "tokenizer.json")), plan.seed)
    gemm_rate = measure_gemm_rate(subject.shape, dtype, device)
    makers = make_baselines(subject.folder, settings, device, dtype)
    peers = {name: makers[name]() for name in plan.peers}
    found = []
    for name in plan.workloads:
        workload = draw_workload(name, text, plan.size)
        for peer_name, peer in peers.items():
            tell(f"{name}: {peer_name} gets ready")
            peer.prepare(workload.requests)
        turns = take_turns(
            {peer_name: _scoring(peer, workload) for peer_name, peer in peers.items()},
            plan.rounds_of(name),
            device,
            lambda peer_name, turn, name=name: tell(f"{name}: {peer_name}, round {turn + 1}"),  # type: ignore[misc]
        )
        tokenised = [encoder.encode(build_prompt(request), request.max_length) for request in workload.requests]
        found.append(_results(workload, tokenised, subject, settings, gemm_rate, peers, turns))
        gc.collect()
    return SpeedResults(plan.rounds or ROUNDS, plan.seed, plan.texts, gemm_rate, tuple(found))


def _scoring(peer: Baseline, workload: BenchWorkload) -> Callable[[], list[float]]:
    return lambda: peer.score(workload.requests)


def _results(
    workload: BenchWorkload,
    tokenised: Sequence[TokenizedRequest],
    subject: Subject,
    settings: EngineSettings,
    gemm_rate: float,
    peers: dict[str, Baseline],
    turns: dict[str, list[Measured]],
) -> WorkloadResults:
    budget = LARGEST_AUTO_BUDGET if settings.max_batch_tokens == "auto" else settings.max_batch_tokens
    flops = count_flops(tokenised, subject.shape, budget)
    ours = turns["ours"]
    rows = []
    for name, runs in turns.items():
        seconds = Spread.of([run.seconds for run in runs])
        growths = [run.peak_growth for run in runs if run.peak_growth is not None]
        rows.append(
            SpeedRow(
                peer=name,
                note=peers[name].note,
                seconds=seconds,
                ratio=ratios(ours, runs),
                documents_per_second=workload.documents / seconds.median,
                share_of_gemm_rate=flops / seconds.median / gemm_rate,
                largest_difference=max(abs(a - b) for a, b in zip(ours[0].answer, runs[0].answer, strict=True)),
                peak_growth=max(growths) if growths else None,
            )
        )
    lengths = [
        len(ids)
        for request in tokenised
        for ids in (request.document_ids[document] for document in request.inverse_index)
    ]
    return WorkloadResults(
        name=workload.name,
        rounds=len(ours),
        queries=len(workload.requests),
        documents=workload.documents,
        mean_tokens=sum(lengths) / len(lengths),
        tokens=count_tokens(tokenised, budget),
        flops=flops,
        rows=tuple(rows),
    )
