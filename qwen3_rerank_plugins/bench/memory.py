"""The study of memory: what loading and batches take, and how well the estimates predict it."""

from __future__ import annotations

import dataclasses
import statistics

import torch

from qwen3_rerank_plugins.bench.cost import lengths_of
from qwen3_rerank_plugins.bench.load_memory import Loading, require_growth, watch_in_fresh_process
from qwen3_rerank_plugins.bench.opened import open_model
from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.bench.subject import Subject, stored_as
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.model.varlen import Gathering, varlen_calls
from qwen3_rerank_plugins.engine.scheduling.packing import plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

PREFIX, DOCUMENT = 90, 400
"""Tokens of the made-up requests."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchGrowth:
    """Memory of one batch.

    Attributes:
        tokens: unique tokens.
        documents: number of documents of equal length; one document is one long text.
        growth: peak bytes above the loaded model.
        predicted: the bytes that the budget assumes.
    """

    tokens: int
    documents: int
    growth: int
    predicted: int


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryResults:
    """Results of the study.

    Attributes:
        loadings: loading, as the checkpoint is stored and as bfloat16.
        passes: batches of growing size.
        bytes_per_token: slope of growth over tokens, by least squares over the batches of many documents.
        budget: tokens of the largest batch by default.
        needed: bytes of the weights and the largest batch together, as measured.
        predicted: the same, as `doctor` predicts it.
        error: predicted / needed - 1.
    """

    loadings: tuple[Loading, ...]
    passes: tuple[BatchGrowth, ...]
    bytes_per_token: float
    budget: int
    needed: int
    predicted: int
    error: float


def measure_memory(subject: Subject, settings: EngineSettings, tell: OnStep) -> MemoryResults:
    """Load in a new process, then run batches of growing size, up to the default budget.

    Args:
        subject: the model.
        settings: how it is loaded; `settings.model` is the subject's folder.
        tell: called before every step.
    """
    tell("loading in a new process")
    loadings = [watch_in_fresh_process(settings)]
    if loadings[0].stored != "bfloat16":  # the published checkpoints are stored as bfloat16
        tell("loading weights stored as bfloat16")
        with stored_as(subject, torch.bfloat16) as folder:
            loadings.append(watch_in_fresh_process(dataclasses.replace(settings, model=str(folder))))
    tell("loading")
    model = open_model(settings)
    placement, shape = model.loaded.placement, subject.shape
    device, dtype, batch_memory = placement.device, placement.dtype, BatchMemory.of(shape, placement)
    run = model.runner()
    model.loaded.release_output_matrix()
    budget = choose_budget("auto", model.loaded)
    _growth(run, device, _request(1024, DOCUMENT))  # the libraries allocate their buffers in the first batch
    batches = []
    for tokens in sorted({min(budget, tokens) for tokens in (1024, 2048, 4096, 8192, budget)}):
        for document in (DOCUMENT, tokens - PREFIX):
            tell(f"a batch of {tokens} tokens, documents of {min(document, tokens - PREFIX)}")
            request = _request(tokens, document)
            growth = _growth(run, device, request)
            predicted = batch_memory.bytes(tokens, gathering_of(request) if placement.attention.gathers else None)
            batches.append(BatchGrowth(tokens, len(request.document_ids), growth, predicted))
    many = [one for one in batches if one.documents > 1]
    weights, released = loadings[0].weights, shape.output_matrix_bytes(dtype)
    needed = max(weights, weights - released + max(one.growth for one in batches))
    predicted = max(shape.weight_bytes(dtype), shape.weight_bytes(dtype) - released + batches[-1].predicted)
    return MemoryResults(
        loadings=tuple(loadings),
        passes=tuple(batches),
        bytes_per_token=statistics.linear_regression([one.tokens for one in many], [one.growth for one in many]).slope,
        budget=budget,
        needed=needed,
        predicted=predicted,
        error=predicted / needed - 1,
    )


def _request(tokens: int, document: int) -> TokenizedRequest:
    """A request of exactly so many unique tokens. The IDs do not matter to memory."""
    count, remainder = divmod(tokens - PREFIX, document)
    lengths = [document] * count + [remainder] * bool(remainder)
    documents = tuple(
        tuple((number + position) % 1000 for position in range(length)) for number, length in enumerate(lengths)
    )
    return TokenizedRequest(tuple(range(PREFIX)), documents, tuple(range(len(documents))), (0,) * len(documents))


def gathering_of(request: TokenizedRequest) -> Gathering:
    """Return what flash attention gathers for a batch of one request."""
    lengths = lengths_of(request)
    (plan,) = plan_batches([lengths], lengths.prefix + sum(lengths.document_lengths))
    return Gathering.of(build_batch([request], plan).layout.derive(varlen_calls))


def _growth(run: ModelRunner, device: torch.device, request: TokenizedRequest) -> int:
    lengths = lengths_of(request)
    (plan,) = plan_batches([lengths], lengths.prefix + sum(lengths.document_lengths))
    return require_growth(measure(lambda: run([request], plan), device), device)
