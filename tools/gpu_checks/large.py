"""Checks on a published shape on CUDA: scores, memory against its prediction, and recovery from too little memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gpu_checks.scoring import LAYOUTS, Check, card_scores, dtype_name, random_requests, scorer
from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.attention import choose_attention
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

_GIBIBYTE = 2**30


def check_large(model: OpenedModel, dtype: torch.dtype) -> list[Check]:
    """Compare scores with the stock forward pass and memory with the prediction, then run out of memory."""
    loaded, name = model.loaded, dtype_name(dtype)
    choice = choose_attention("auto", loaded.placement.device, dtype)
    requests = random_requests(LAYOUTS["several prefixes"])
    stock = card_scores(model, requests, loaded.causal_lm)
    score = scorer(model, choice.attend)
    difference = float((score(requests) - stock).abs().max())
    budget = choose_budget("auto", loaded)
    documents = [400] * ((budget - 90) // 400)
    tokens = 90 + sum(documents)
    batch = random_requests([(90, documents)])
    grown = measure(lambda: score(batch), loaded.placement.device).peak_growth or 0
    weights = sum(parameter.nbytes for parameter in loaded.causal_lm.model.parameters())
    shape = Shape.from_config(loaded.causal_lm.config.to_dict())
    predicted = (
        shape.weight_bytes(dtype)
        - shape.output_matrix_bytes(dtype)
        + shape.batch_bytes(tokens, dtype, loaded.placement.rows_at_once)
    )
    return [
        Check(f"{name}, large: {choice.name} against the card path, largest difference", difference),
        Check(f"{name}, large: weights, GiB", weights / _GIBIBYTE),
        Check(f"{name}, large: memory of a batch of {tokens} tokens, GiB", grown / _GIBIBYTE, 3.0),
        Check(f"{name}, large: error of the prediction, share", abs(predicted / (weights + grown) - 1), 0.15),
        *check_out_of_memory(model, budget),
    ]


def check_out_of_memory(model: OpenedModel, budget: int) -> list[Check]:
    """Submit a batch that cannot fit; the scheduler must split it until it fits, and return the same scores."""
    run = model.runner()
    (request,) = random_requests([(90, [400] * ((budget - 90) // 400))])
    batches: list[int] = []

    def counting(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        batches.append(plan.document_count)
        return run(requests, plan)

    def scheduled() -> tuple[float, ...]:
        scheduler = Scheduler(lambda: LoadedEngine(counting, budget))
        try:
            return scheduler.submit(request, lambda scores, _: scores).result()
        finally:
            scheduler.close()

    expected = scheduled()
    enough = len(batches)
    torch.cuda.empty_cache()
    device = model.loaded.placement.device
    filler = torch.empty(max(0, torch.cuda.mem_get_info(device)[0] - _GIBIBYTE), dtype=torch.uint8, device=device)
    found = scheduled()
    del filler
    torch.cuda.empty_cache()
    difference = max(abs(a - b) for a, b in zip(expected, found, strict=True))
    provoked = len(batches) > 2 * enough
    return [
        Check("large: batches with enough memory", enough),
        Check("large: batches, including failed ones, with 1 GiB left", len(batches) - enough),
        Check("large: log-odds with 1 GiB left against enough memory, largest difference", difference),
        Check("large: running out of memory was not provoked; 0 is good", 0.0 if provoked else 1.0, 0.0),
    ]
