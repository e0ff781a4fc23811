"""The cost of a workload in tokens and FLOPs, and the FLOP/s that this machine reaches in plain matrix products.

FLOPs of a forward pass = 2 * parameters of the layers * tokens
                        + 4 * layers * heads * head_dim * (query, key) pairs
A token pairs with itself and all tokens before it; the second term counts the multiply-adds of q.k and of weights.v.
Embedding, norms and the two-row head are left out, so a share of the GEMM rate computed from this is never too high.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from qwen3_rerank_plugins.engine.kernels import onednn
from qwen3_rerank_plugins.engine.kernels.product_race import race_products
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

_PADDED_BATCH = 32


@dataclasses.dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens of a workload, counted three ways.

    Attributes:
        naive: whole prompts without padding.
        padded: whole prompts sorted by length and padded in batches of 32, as sentence-transformers does.
        unique: tokens that packed batches compute: each prefix once per batch, each different document once.
        passes: batches under the budget.
    """

    naive: int
    padded: int
    unique: int
    passes: int


def count_tokens(requests: Sequence[TokenizedRequest], budget: int) -> TokenCount:
    """Count the tokens of a workload under a budget of unique tokens per batch."""
    prompts = sorted(
        (len(r.prefix) + len(r.document_ids[document]) for r in requests for document in r.inverse_index), reverse=True
    )
    batches = [prompts[start : start + _PADDED_BATCH] for start in range(0, len(prompts), _PADDED_BATCH)]
    plans = plan_batches([lengths_of(request) for request in requests], budget)
    return TokenCount(
        naive=sum(prompts),
        padded=sum(batch[0] * len(batch) for batch in batches),
        unique=sum(plan.tokens for plan in plans),
        passes=len(plans),
    )


def count_flops(requests: Sequence[TokenizedRequest], shape: Shape, budget: int) -> float:
    """Return the FLOPs of the unique tokens of a workload; `budget` is in unique tokens per batch."""
    lengths = [lengths_of(request) for request in requests]
    plans = plan_batches(lengths, budget)
    pairs = 0
    for part in (part for plan in plans for part in plan.slices):
        workload = lengths[part.request]
        pairs += _causal(workload.prefix)
        pairs += sum(
            workload.document_lengths[document] * workload.prefix + _causal(workload.document_lengths[document])
            for document in part.documents
        )
    tokens = sum(plan.tokens for plan in plans)
    return 2.0 * shape.layer_parameters * tokens + 4.0 * shape.layers * shape.heads * shape.head_dim * pairs


def count_card_flops(requests: Sequence[TokenizedRequest], shape: Shape) -> float:
    """Return the FLOPs of the model card's script without padding: whole prompts, and the logits of every position."""
    lengths = [len(r.prefix) + len(r.document_ids[document]) for r in requests for document in r.inverse_index]
    layers = 2.0 * shape.layer_parameters * sum(lengths)
    attention = 4.0 * shape.layers * shape.heads * shape.head_dim * sum(map(_causal, lengths))
    return layers + attention + 2.0 * shape.vocabulary * shape.hidden * sum(lengths)


def measure_gemm_rate(shape: Shape, dtype: torch.dtype, device: torch.device) -> float:
    """Return the FLOP/s of the MLP's matrix product [rows, hidden] x [hidden, intermediate].

    It is the upper bound for any batch on this device. The fastest of several numbers of rows counts: few rows suit the
    caches of a CPU, many suit a GPU. On a CPU, so does the fastest of torch's and oneDNN's products.
    """
    right = torch.randn(shape.intermediate, shape.hidden, device=device, dtype=dtype)
    products: list[Callable[[torch.Tensor], torch.Tensor]] = [lambda left: torch.nn.functional.linear(left, right)]
    if device.type == "cpu" and race_products(shape.hidden, shape.intermediate).of("onednn", dtype):
        packed = onednn.pack(right)
        products.append(lambda left: onednn.multiply(left, packed))
    with torch.inference_mode():
        return max(_gemm_rate(rows, shape, right, multiply) for rows in (256, 1024, 4096) for multiply in products)


def _gemm_rate(rows: int, shape: Shape, right: torch.Tensor, multiply: Callable[[torch.Tensor], torch.Tensor]) -> float:
    device = right.device
    left = torch.randn(rows, shape.hidden, device=device, dtype=right.dtype)
    repeats = max(1, 8192 // rows)
    rates: list[float] = []
    for _ in range(8):
        started = _now(device)
        for _ in range(repeats):
            multiply(left)
        rates.append(repeats * 2.0 * rows * shape.hidden * shape.intermediate / (_now(device) - started))
    return statistics.median(rates[2:])  # the first two warm up


def lengths_of(request: TokenizedRequest) -> Workload:
    """Return the token lengths of a request, as `plan_batches` takes them."""
    return Workload(len(request.prefix), tuple(map(len, request.document_ids)))


def _causal(length: int) -> int:
    return length * (length + 1) // 2


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
