"""The study of memory: what loading takes, what a pass takes, and whether the predictions hold.

Comes in: a subject and settings. Goes out: `MemoryResults`.
Must not know: tables, peers. Loading is watched in a process of its own, where nothing has been allocated before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.bench.load_memory import Loading, watch_in_fresh_process
from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.bench.subject import Subject, stored_as
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest
from qwen3_rerank_plugins.errors import SettingsError

PREFIX, TAIL = 90, 400


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
        budget: tokens of the largest pass by default.
        needed, predicted: bytes of weights and that pass together, measured and as `doctor` says.
        error: of the prediction, relative to what was measured.
    """

    loadings: tuple[Loading, ...]
    passes: tuple[PassMemory, ...]
    bytes_per_token: float
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
    loadings = [watch_in_fresh_process(settings)]
    if loadings[0].stored != "bfloat16":  # as the published checkpoints are
        tell("loading weights stored as bfloat16")
        with stored_as(subject, torch.bfloat16) as folder:
            loadings.append(watch_in_fresh_process(dataclasses.replace(settings, model=str(folder))))
    tell("loading")
    checkpoint = find_checkpoint(settings)
    loaded = load_model(settings, checkpoint)
    encoder = PromptEncoder(checkpoint.tokenizer_file)
    device, dtype, shape = loaded.placement.device, loaded.placement.dtype, subject.shape
    rows = loaded.placement.rows_at_once
    run = ModelRunner(
        PackedModel(loaded.causal_lm.model, loaded.placement.attention.attend, rows_at_once=rows),
        YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id),
        device,
    )
    loaded.release_output_matrix()
    budget = choose_budget("auto", loaded)
    _grow(run, device, _request(1024, TAIL))  # the libraries' own buffers
    passes = []
    for tokens in sorted({min(budget, tokens) for tokens in (1024, 2048, 4096, 8192, budget)}):
        for document in (TAIL, tokens - PREFIX):
            tell(f"a pass of {tokens} tokens, tails of {min(document, tokens - PREFIX)}")
            request = _request(tokens, document)
            growth = _grow(run, device, request)
            passes.append(PassMemory(tokens, len(request.document_ids), growth, shape.batch_bytes(tokens, dtype, rows)))
    many = [one for one in passes if one.documents > 1]
    weights, released = loadings[0].weights, shape.output_matrix_bytes(dtype)
    needed = max(weights, weights - released + max(one.growth for one in passes))
    predicted = max(shape.weight_bytes(dtype), shape.weight_bytes(dtype) - released + passes[-1].predicted)
    return MemoryResults(
        loadings=tuple(loadings),
        passes=tuple(passes),
        bytes_per_token=_slope([one.tokens for one in many], [one.growth for one in many]),
        budget=budget,
        needed=needed,
        predicted=predicted,
        error=predicted / needed - 1,
    )


def _request(tokens: int, document: int) -> TokenizedRequest:
    """A request of exactly so many unique tokens; which ids they are does not matter to memory."""
    lengths = [document] * ((tokens - PREFIX) // document)
    rest = tokens - PREFIX - sum(lengths)
    lengths += [rest] if rest else []
    tails = tuple(
        tuple((position + place) % 1000 for place in range(length)) for position, length in enumerate(lengths)
    )
    return TokenizedRequest(tuple(range(PREFIX)), tails, tuple(range(len(tails))), (0,) * len(tails))


def _grow(run: ModelRunner, device: torch.device, request: TokenizedRequest) -> int:
    lengths = Workload(len(request.prefix), tuple(map(len, request.document_ids)))
    (plan,) = plan_batches([lengths], lengths.prefix + sum(lengths.document_lengths))
    growth = measure(lambda: run([request], plan), device).peak_growth
    if growth is None:
        raise SettingsError(f"Peak memory cannot be watched on {device} here. Use device='cuda', or Linux.")
    return growth


def _slope(x: Sequence[int], y: Sequence[int]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)
