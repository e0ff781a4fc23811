"""Random models and requests, and their log-odds by the engine and by the stock forward pass."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from qwen3_rerank_plugins.bench.cost import lengths_of
from qwen3_rerank_plugins.bench.opened import OpenedModel, open_model
from qwen3_rerank_plugins.bench.subject import write_random_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, plan_batches
from qwen3_rerank_plugins.engine.settings import Dtype, EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

SMALL = Shape(
    hidden=512, layers=4, heads=8, key_value_heads=2, head_dim=128, intermediate=1024, vocabulary=9_216, tied=False
)
TINY = Shape(
    hidden=128, layers=2, heads=4, key_value_heads=2, head_dim=32, intermediate=256, vocabulary=9_216, tied=False
)
LAYOUTS: dict[str, list[tuple[int, list[int]]]] = {
    "one prefix, short documents": [(80, [20, 33, 47, 5])],
    "documents of one token": [(80, [1, 1, 2]), (3, [1])],
    "several prefixes": [(80, [100, 60]), (17, [300]), (200, [9, 9, 9])],
    "many documents": [(90, [60 + 7 * (n % 11) for n in range(100)])],
    "long beside short": [(90, [1_400, 1, 64]), (12, [3])],
    "a long document": [(90, [8_000])],
}
"""Requests as (tokens of the prefix, tokens of each document)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One result.

    Attributes:
        name: what was measured.
        value: the result, in the unit of `limit`.
        limit: the largest value that passes; None if every value passes.
    """

    name: str
    value: float
    limit: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the value is within its limit."""
        return self.limit is None or self.value <= self.limit


def dtype_name(dtype: torch.dtype) -> Dtype:
    """Return the name of a dtype, such as "bfloat16"."""
    name: Dtype = str(dtype).removeprefix("torch.")  # type: ignore[assignment]
    return name


@contextmanager
def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Iterator[OpenedModel]:
    """Yield a model of a shape with random weights, loaded by the engine."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder), shape, dtype, DEMO_FOLDER)
        model = open_model(EngineSettings(model=folder, device=str(device), dtype=dtype_name(dtype)))
        yield model
        del model
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def random_requests(layout: Sequence[tuple[int, Sequence[int]]], seed: int = 0) -> list[TokenizedRequest]:
    """Return requests of given lengths with random IDs."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 9_000, (length,), generator=generator).tolist())

    return [
        TokenizedRequest(ids(prefix), tuple(map(ids, documents)), tuple(range(len(documents))), (0,) * len(documents))
        for prefix, documents in layout
    ]


Score = Callable[[Sequence[TokenizedRequest]], torch.Tensor]


def scorer(model: OpenedModel, attend: Attention) -> Score:
    """Return a function that scores all documents of requests in one batch, request by request."""
    run = model.runner(model.packed(attend=attend))

    def score(requests: Sequence[TokenizedRequest]) -> torch.Tensor:
        lengths = [lengths_of(request) for request in requests]
        (plan,) = plan_batches(lengths, sum(one.prefix + sum(one.document_lengths) for one in lengths))
        return in_document_order(requests, plan, run(requests, plan))

    return score


def in_document_order(requests: Sequence[TokenizedRequest], plan: BatchPlan, log_odds: Sequence[float]) -> torch.Tensor:
    """Return log-odds in the order of the requests; a plan sorts documents by length."""
    keys = [(part.request, document) for part in plan.slices for document in part.documents]
    found = dict(zip(keys, log_odds, strict=True))
    return torch.tensor(
        [found[number, document] for number, one in enumerate(requests) for document in range(len(one.document_ids))]
    )


@torch.inference_mode()
def card_scores(model: OpenedModel, requests: Sequence[TokenizedRequest], causal_lm: torch.nn.Module) -> torch.Tensor:
    """Score every prompt alone with the stock forward pass of `causal_lm`, in its dtype."""
    device = model.loaded.placement.device
    answers = [model.encoder.yes_id, model.encoder.no_id]
    found = []
    for request in requests:
        for document in request.document_ids:
            ids = torch.tensor([[*request.prefix, *document]], device=device)
            yes, no = causal_lm(ids, logits_to_keep=1).logits[0, -1, answers].float().tolist()
            found.append(yes - no)
    return torch.tensor(found)


def root_mean_square(errors: torch.Tensor) -> float:
    """Return the root mean square of all entries."""
    return float(errors.square().mean().sqrt())
