"""Memory: the peak while loading, what a full batch takes against its prediction, and a batch that does not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from qwen3_rerank_plugins.bench.memory import gathering_of
from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.device_check.check import Check
from qwen3_rerank_plugins.device_check.engines import OpenedEngine, difference_limit, free_cached_memory
from qwen3_rerank_plugins.device_check.requests import full_request, random_requests
from qwen3_rerank_plugins.device_check.subject import Subject
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.placement import choose_placement, use_device
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.varlen import Gathering
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import DeviceMemoryError

_MEBIBYTE = 2**20
_SLACK = 64 * _MEBIBYTE
"""Bytes for what libraries allocate once, such as the workspace of matrix products."""
_PREDICTION_ERROR = 0.15


def check_memory(subject: Subject, dtype: torch.dtype) -> Iterator[Check]:
    """Measure loading and a full batch, then run the batch again with too little memory."""
    settings, on_cuda = subject.settings(dtype), subject.device.type == "cuda"
    loading = measure(lambda: OpenedEngine(settings), subject.device)
    with loading.answer as opened:
        if loading.peak_growth is not None:
            limit = _loading_limit(subject.shape, dtype) / _MEBIBYTE if on_cuda else None
            yield Check(subject.name(dtype, "peak while loading, MiB"), loading.peak_growth / _MEBIBYTE, limit)
        request = full_request(opened.engine.budget)
        tokens = len(request.prefix) + sum(map(len, request.document_ids))
        opened.score(random_requests([(90, [400])]))  # libraries allocate their buffers in the first batch
        growth = measure(lambda: opened.score([request]), subject.device).peak_growth
        if growth is not None:
            predicted = predicted_bytes(subject.shape, settings, tokens, gathering_of(request))
            what = f"a batch of {tokens:,} tokens"
            yield Check(
                subject.name(dtype, f"{what}, MiB"), growth / _MEBIBYTE, note=f"{predicted / _MEBIBYTE:,.0f} predicted"
            )
            if on_cuda and growth:
                limit = _PREDICTION_ERROR if subject.published else None
                yield Check(
                    subject.name(dtype, f"{what}: error of the prediction, share"), abs(predicted / growth - 1), limit
                )
        yield from check_too_little_memory(subject, dtype, opened, request, growth or 0)


def predicted_bytes(shape: Shape, settings: EngineSettings, tokens: int, gathering: Gathering | None = None) -> int:
    """Return the bytes that the engine predicts for a batch of so many unique tokens; see `BatchMemory.bytes`."""
    return BatchMemory.of(shape, choose_placement(settings)).bytes(tokens, gathering)


def check_too_little_memory(
    subject: Subject, dtype: torch.dtype, opened: OpenedEngine, request: TokenizedRequest, growth: int
) -> Iterator[Check]:
    """Submit a batch that cannot fit: the scheduler must split it until it fits and return the same scores.

    On CUDA the allocator of this process is limited to a third of what the batch takes, so nothing else on the GPU is
    disturbed. Elsewhere memory cannot be limited, and batches of more than a third of the tokens are refused.
    """
    engine, refused = opened.engine, [0]
    largest = engine.budget if subject.device.type == "cuda" else engine.budget // 3

    def run(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        try:
            if plan.tokens > largest:
                raise DeviceMemoryError("More tokens than this check allows. Use smaller batches.")
            return engine.run(requests, plan)
        except DeviceMemoryError:
            refused[0] += 1
            raise

    expected = opened.score([request])
    with _limited_memory(subject.device, growth // 3):
        found = _scheduled(LoadedEngine(run, engine.budget), request, subject.device)
    limit = difference_limit(dtype, expected)
    difference = float((found - expected).abs().max())
    note = f"{refused[0]} of its batches did not fit"
    yield Check(subject.name(dtype, "too little memory: largest difference of the scores"), difference, limit, note)
    if not refused[0]:
        yield Check(subject.name(dtype, "too little memory"), error="the batch fitted, so nothing was shown")


def _scheduled(engine: LoadedEngine, request: TokenizedRequest, device: torch.device) -> torch.Tensor:
    """Return the log-odds of a request in the order of its documents, as a scheduler computes them; [documents]."""

    def load() -> LoadedEngine:
        use_device(device)  # on the scheduler's thread, as `load_engine` does
        return engine

    scheduler = Scheduler(load)
    try:
        return torch.tensor(scheduler.submit(request, lambda log_odds, _: list(log_odds)).result())
    finally:
        scheduler.close()


@contextlib.contextmanager
def _limited_memory(device: torch.device, left: int) -> Iterator[None]:
    """On CUDA, limit this process to the memory that it holds now and `left` bytes."""
    if device.type != "cuda":
        yield
        return
    free_cached_memory()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + left) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _loading_limit(shape: Shape, dtype: torch.dtype) -> int:
    """Return the most bytes while loading: the weights and one layer."""
    return shape.weight_bytes(dtype) + shape.layer_parameters // shape.layers * dtype.itemsize + _SLACK
