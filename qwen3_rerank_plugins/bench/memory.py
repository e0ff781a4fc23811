"""The study of memory: what loading takes, what a pass takes, and whether the predictions hold.

Comes in: a subject and settings. Goes out: `MemoryResults`.
Must not know: tables, peers. Loading is watched in a process of its own, where nothing has been allocated before.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import measure, resident_bytes
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.engine.budget import choose_budget
from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.head import YesNoHead
from qwen3_rerank_plugins.engine.model import PackedModel
from qwen3_rerank_plugins.engine.packing import Workload, plan_passes
from qwen3_rerank_plugins.engine.passes import PassRunner
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.tokens import PromptEncoder, TokenisedRequest
from qwen3_rerank_plugins.engine.weights import LoadedModel, load_model

PREFIX, TAIL = 90, 400


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """Memory of a fresh process that loads the model, libraries not counted.

    Attributes:
        weights: bytes of the parameters.
        peak: bytes at the highest point while loading.
        peak_ratio: peak over weights; 2 would mean two copies.
    """

    weights: int
    peak: int
    peak_ratio: float


@dataclasses.dataclass(frozen=True, slots=True)
class PassMemory:
    """One pass.

    Attributes:
        tokens: unique tokens.
        growth: bytes above the loaded model, at most.
        predicted: what the budget reckons with.
        documents: their number and length; one document stands for one long tail.
    """

    tokens: int
    documents: int
    growth: int
    predicted: int


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryResults:
    """Everything about memory.

    Attributes:
        bytes_per_token: the slope of growth over tokens, by least squares over the passes of many tails.
        predicted_bytes_per_token: what the budget reckons with.
        largest: the pass of the default budget.
        needed, predicted: bytes of weights and the largest pass together, measured and as `doctor` says.
    """

    loading: Loading
    passes: tuple[PassMemory, ...]
    bytes_per_token: float
    predicted_bytes_per_token: int
    budget: int
    needed: int
    predicted: int
    error: float


def measure_memory(subject: Subject, settings: EngineSettings, tell: OnStep) -> MemoryResults:
    """Load in a fresh process, then run passes of growing size, up to the default budget.

    Args:
        subject: the model.
        settings: how it is loaded; `settings.model` is the subject's folder.
        tell: called before every step.
    """
    tell("loading in a process of its own")
    with multiprocessing.get_context("spawn").Pool(1) as process:
        loading = process.apply(watch_loading, (settings,))
    tell("loading")
    checkpoint = find_checkpoint(settings)
    loaded = load_model(settings, checkpoint)
    encoder = PromptEncoder(checkpoint.tokenizer_file)
    device, dtype = loaded.placement.device, loaded.placement.dtype
    run = PassRunner(
        PackedModel(loaded.causal_lm.model, loaded.placement.attention.attend),
        YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id),
        device,
    )
    budget = choose_budget("auto", loaded)
    per_token = subject.shape.token_bytes(dtype)
    _grow(run, device, _request(1024, TAIL))  # the libraries' own buffers
    passes = []
    for tokens in sorted({min(budget, tokens) for tokens in (1024, 2048, 4096, 8192, budget)}):
        for tail in (TAIL, tokens - PREFIX):
            tell(f"a pass of {tokens} tokens, tails of {min(tail, tokens - PREFIX)}")
            request = _request(tokens, tail)
            growth = _grow(run, device, request)
            passes.append(PassMemory(tokens, len(request.tails), growth, tokens * per_token))
    many = [one for one in passes if one.documents > 1]
    needed = loading.weights + max(one.growth for one in passes)
    predicted = subject.shape.weight_bytes(dtype) + budget * per_token
    return MemoryResults(
        loading=loading,
        passes=tuple(passes),
        bytes_per_token=_slope([one.tokens for one in many], [one.growth for one in many]),
        predicted_bytes_per_token=per_token,
        budget=budget,
        needed=needed,
        predicted=predicted,
        error=predicted / needed - 1,
    )


def watch_loading(settings: EngineSettings) -> Loading:
    """Load in this process, which should be fresh, and report the peak."""
    import transformers

    _ = transformers.AutoModelForCausalLM, transformers.Qwen3ForCausalLM  # libraries are loaded before the watch starts
    device = torch.device("cuda" if torch.cuda.is_available() and settings.device != "cpu" else "cpu")
    measured = measure(lambda: load_model(settings, find_checkpoint(settings)), device)
    loaded: LoadedModel = measured.answer
    weights = sum(parameter.nbytes for parameter in loaded.causal_lm.parameters())
    peak = measured.peak_growth if measured.peak_growth is not None else resident_bytes()
    return Loading(weights, peak, peak / weights)


def _request(tokens: int, tail: int) -> TokenisedRequest:
    """A request of exactly so many unique tokens; which ids they are does not matter to memory."""
    lengths = [tail] * ((tokens - PREFIX) // tail)
    rest = tokens - PREFIX - sum(lengths)
    lengths += [rest] if rest else []
    tails = tuple(
        tuple((position + place) % 1000 for place in range(length)) for position, length in enumerate(lengths)
    )
    return TokenisedRequest(tuple(range(PREFIX)), tails, tuple(range(len(tails))), (0,) * len(tails))


def _grow(run: PassRunner, device: torch.device, request: TokenisedRequest) -> int:
    lengths = Workload(len(request.prefix), tuple(map(len, request.tails)))
    (plan,) = plan_passes([lengths], lengths.prefix + sum(lengths.tails))
    growth = measure(lambda: run([request], plan), device).peak_growth
    if growth is None:
        raise RuntimeError("Peak memory can be watched on CUDA and on Linux only.")
    return growth


def _slope(x: Sequence[int], y: Sequence[int]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)
