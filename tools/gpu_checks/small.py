"""Checks on small shapes: kernels, independence of the batch, several devices."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gpu_checks.scoring import (
    LAYOUTS,
    SMALL,
    TINY,
    Check,
    card_scores,
    dtype_name,
    random_requests,
    root_mean_square,
    scorer,
)
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.bench.subject import write_random_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.model.attention import choose_attention
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention


def check_kernels(model: OpenedModel, dtype: torch.dtype, layouts: Sequence[str]) -> list[Check]:
    """Compare the chosen kernel with SDPA, and both with the stock forward pass in float32."""
    name, device, causal_lm = dtype_name(dtype), model.loaded.placement.device, model.loaded.causal_lm
    choice = choose_attention("auto", device, dtype)
    chosen, plain = scorer(model, choice.attend), scorer(model, sdpa_attention)
    exact_model = type(causal_lm)(causal_lm.config).to(device, torch.float32).eval()
    exact_model.load_state_dict({key: value.float() for key, value in causal_lm.state_dict().items()})
    checks, ours, theirs = [], [], []
    for layout in layouts:
        requests = random_requests(LAYOUTS[layout])
        fast, slow = chosen(requests), plain(requests)
        exact = card_scores(model, requests, exact_model)
        ours.append(fast - exact)
        theirs.append(card_scores(model, requests, causal_lm) - exact)
        difference = float((fast - slow).abs().max())
        checks += [
            Check(f"{name}, {layout}: {choice.name} against sdpa, largest difference", difference),
            Check(f"{name}, {layout}: card path against float32, RMS", root_mean_square(theirs[-1])),
            Check(f"{name}, {layout}: {choice.name} against float32, RMS", root_mean_square(ours[-1])),
        ]
    # over all documents, because the random error of a layout with four documents says little
    limit = max(1e-3, 1.1 * root_mean_square(torch.cat(theirs)))
    checks.append(Check(f"{name}: against float32, all documents, RMS", root_mean_square(torch.cat(ours)), limit))
    return checks


def check_independence(model: OpenedModel, dtype: torch.dtype) -> list[Check]:
    """Measure how a document's score depends on the rest of its batch; in 16 bits both scores are rounded."""
    score = scorer(model, choose_attention("auto", model.loaded.placement.device, dtype).attend)
    (request,) = random_requests(LAYOUTS["many documents"])
    together = score([request])
    alone = torch.cat(
        [
            score([dataclasses.replace(request, document_ids=(document,), inverse_index=(0,), truncated_tokens=(0,))])
            for document in request.document_ids
        ]
    )
    largest = float((together - alone).abs().max())
    limit = 1e-3 if dtype == torch.float32 else 0.1 * float(together.max() - together.min())
    return [Check(f"{dtype_name(dtype)}: a score alone against in a batch, largest difference", largest, limit)]


def check_several(device: torch.device, dtype: torch.dtype) -> list[Check]:
    """Compare a replica on each GPU, and one model spread over all GPUs, with one GPU; on a CPU, two replicas."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if device.type == "cuda" else []
    texts = [f"Report {number}: " + "the river rose again in spring. " * (10 + number % 7) for number in range(40)]
    found: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder), TINY if device.type == "cpu" else SMALL, dtype, DEMO_FOLDER)
        placements: list[dict[str, Any]] = [
            {"device": str(device)},
            {"devices": gpus or ["cpu"] * 2},
            {"device_map": "auto"},
        ]
        for placement in placements:
            with Qwen3Reranker(folder, dtype=dtype_name(dtype), max_length=2048, **placement) as reranker:
                reranker.warmup()
                ranked = reranker.rank("When did the river rise?", texts)
            found.append([one.logit for one in sorted(ranked, key=lambda one: one.index)])
    limit = 1e-3 if dtype == torch.float32 else None
    return [
        Check(
            f"{dtype_name(dtype)}: {what} against one device, largest difference",
            max(abs(one - other) for one, other in zip(found[0], several, strict=True)),
            limit,
        )
        for what, several in zip(("replicas", "a spread model"), found[1:], strict=True)
    ]
