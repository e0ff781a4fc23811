"""Whether a document's score depends on the rest of its batch, and on the device or devices that compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from qwen3_rerank_plugins.device_check.check import Check, survive
from qwen3_rerank_plugins.device_check.engines import OpenedEngine, difference_limit
from qwen3_rerank_plugins.device_check.requests import LAYOUTS, random_requests
from qwen3_rerank_plugins.device_check.subject import Subject
from qwen3_rerank_plugins.engine.loading.placement import dtype_name
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_QUERY = "When did the river rise?"
_TEXTS = [f"Report {number}: " + "the river rose again in spring. " * (10 + number % 7) for number in range(40)]


def check_independence(subject: Subject, dtype: torch.dtype) -> Iterator[Check]:
    """Compare scores of documents alone with their scores in one batch."""
    (request,) = random_requests(LAYOUTS["many documents"])
    with OpenedEngine(subject.settings(dtype)) as opened:
        together = opened.score([request])
        alone = torch.cat(
            [
                opened.score(
                    [dataclasses.replace(request, document_ids=(ids,), inverse_index=(0,), truncated_tokens=(0,))]
                )
                for ids in request.document_ids
            ]
        )
    name = subject.name(dtype, "scores alone against scores in one batch: largest difference")
    yield Check(name, float((together - alone).abs().max()), difference_limit(dtype, together))


def check_several_devices(subject: Subject, dtype: torch.dtype) -> Iterator[Check]:
    """Compare replicas, and one model spread over all devices, with one model on one device."""
    one = _rank(subject, dtype, device=str(subject.device))

    def compare(what: str, **placement: Any) -> Iterator[Check]:
        difference = float((_rank(subject, dtype, **placement) - one).abs().max())
        yield Check(
            f"{subject.name(dtype, what)}: largest difference from one device", difference, difference_limit(dtype, one)
        )

    replicas = f"replicas on {', '.join(subject.replicas)}"
    yield from survive(subject.name(dtype, replicas), lambda: compare(replicas, devices=list(subject.replicas)))
    spread = "a spread model"
    if subject.spread:
        yield from survive(subject.name(dtype, spread), lambda: compare(spread, device_map="auto"))
    else:
        yield Check(subject.name(dtype, spread), note="it would use other devices than the one asked for")


def _rank(subject: Subject, dtype: torch.dtype, **placement: Any) -> torch.Tensor:
    """Return the log-odds of `_TEXTS` in their order, through the public interface; [documents]."""
    options: dict[str, Any] = {"dtype": dtype_name(dtype), "max_length": 2_048, **placement}
    with Qwen3Reranker(subject.folder, **options) as reranker:
        reranker.warmup()
        return torch.tensor(reranker.log_odds(_QUERY, _TEXTS))
