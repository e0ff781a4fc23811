"""Compute which published checkpoint fits on which card, and how long a rerank takes there.

    python -m benchmarks.gpu_sizing --out benchmarks/results/gpu-sizing.json

It needs no GPU. Times are computed from data sheets and from one measured card:

    seconds = FLOPs / (data-sheet rate of the card x share)
    share   = FLOP/s that the measured card reached / its own data-sheet rate

A batch never takes less time per layer than `small` took on the measured card, where launches limit the speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_cards import CARDS, MEASURED_CARD, Card
from qwen3_rerank_plugins._records.record import make_record, write_record
from qwen3_rerank_plugins.bench.cost import count_flops, count_tokens
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import auto_budget
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

SOURCES = "Computed, not measured, from the shapes of the checkpoints, data sheets, and the record gpu-probe-8b"
RECORDS = Path(__file__).parent / "results"
MEMORY_SIZES = (8, 12, 16, 24, 40, 80)
MODES: tuple[Quantization | None, ...] = (None, "int8", "int4")
DTYPE = torch.bfloat16
RESERVE = 2**30
"""Bytes that no formula counts: the CUDA context, the loaded kernels, and the workspaces of cuBLAS. An assumption."""
ECC_SHARE = 1 / 16
"""Share of the memory that ECC takes on cards with GDDR memory, such as the L4 and the A10G."""
DOCUMENTS = (20, 50, 100)
WORKLOAD_OF_TOKENS = {100: "passages", 400: "chunks"}
"""Tokens per document, and the workload whose measured share applies."""
PREFIX_TOKENS, SUFFIX_TOKENS = 77, 9
"""Template and default instruction with a query of 14 tokens; and what follows each document."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """Whether a checkpoint fits on a card.

    Attributes:
        checkpoint: its name.
        mode: quantization, or None for 16 bits.
        weight_bytes: bytes of the loaded weights.
        gigabytes: memory of the card.
        tokens: unique tokens per batch under the "auto" budget; None if it does not fit.
    """

    checkpoint: str
    mode: Quantization | None
    weight_bytes: int
    gigabytes: int
    tokens: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """What the record of the measured card says.

    Attributes:
        shares: FLOP/s of a workload as a share of the card's data-sheet rate.
        layer_seconds: time of one layer in the workload `small`.
    """

    shares: dict[str, float]
    layer_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(description="Compute which checkpoint fits on which card, and its speed there.")
    parser.add_argument("--out", type=Path, required=True, help="file for the record in JSON")
    options = parser.parse_args(arguments)
    rate = read_rate()
    results = {
        "reserve_bytes": RESERVE,
        "ecc_share": ECC_SHARE,
        "prefix_tokens": PREFIX_TOKENS,
        "suffix_tokens": SUFFIX_TOKENS,
        "top": DOCUMENTS,
        "tokens": tuple(WORKLOAD_OF_TOKENS),
        "rate": rate,
        "cards": CARDS,
        "fits": [
            fit(checkpoint, mode, gigabytes) for checkpoint in PUBLISHED for mode in MODES for gigabytes in MEMORY_SIZES
        ],
        "times": [
            {"card": card.name, "checkpoint": checkpoint, "seconds": list_seconds(checkpoint, card, rate)}
            for checkpoint in PUBLISHED
            for card in CARDS
        ],
        "comparison": compare(rate),
    }
    write_record(options.out, make_record("gpu-sizing", SOURCES, results))


def fit(checkpoint: str, mode: Quantization | None, gigabytes: int) -> Fit:
    """Return whether a checkpoint fits on a card with so much memory, and with what budget.

    The peak is the larger of two: loading, with one layer in 16 bits beside quantized weights; and the largest batch,
    for which the output matrix has been released.
    """
    shape = PUBLISHED[checkpoint]
    free = int(gigabytes * 2**30 * (1 - ECC_SHARE)) - RESERVE
    weights = shape.weight_bytes(DTYPE, mode)
    layer = shape.layer_parameters // shape.layers * DTYPE.itemsize if mode else 0
    batches = BatchMemory(shape, DTYPE, "cuda", fused=True)
    tokens = auto_budget(batches, max(0, free - weights - layer))
    peak = max(weights, weights - shape.output_matrix_bytes(DTYPE) + batches.bytes(tokens)) + layer
    return Fit(checkpoint, mode, weights, gigabytes, tokens if peak <= free else None)


def read_rate() -> Rate:
    """Return the shares that the measured card reached, in the pass as it was, without torch.compile."""
    results = _results("gpu-probe-8b")
    layers = PUBLISHED["Qwen/Qwen3-Reranker-8B"].layers
    reached = {name: one["share"] * results["gemm"] for name, one in results["auto"].items()}
    return Rate(
        {name: flops / (MEASURED_CARD.tflops * 1e12) for name, flops in reached.items()},
        results["auto"]["small"]["ms"] / 1e3 / layers,
    )


def list_seconds(checkpoint: str, card: Card, rate: Rate) -> list[float] | None:
    """Return the seconds of each number of documents for each length; None if the model does not fit in 16 bits."""
    budget = fit(checkpoint, None, card.gigabytes).tokens
    if budget is None:
        return None
    shape = PUBLISHED[checkpoint]
    found = []
    for tokens, workload in WORKLOAD_OF_TOKENS.items():
        for documents in DOCUMENTS:
            request = request_of(tokens, documents)
            flops = count_flops([request], shape, budget)
            passes = count_tokens([request], budget).passes
            found.append(time_of(flops, passes, shape, card, rate, workload))
    return found


def time_of(flops: float, passes: int, shape: Shape, card: Card, rate: Rate, workload: str) -> float:
    """Return the computed seconds of some batches; see the formula of this module."""
    computed = flops / (card.tflops * 1e12 * rate.shares[workload])
    return max(computed, passes * shape.layers * rate.layer_seconds)


def request_of(tokens: int, documents: int) -> TokenizedRequest:
    """Return a request with documents of so many tokens each; only its lengths matter."""
    ids = (0,) * (tokens + SUFFIX_TOKENS)
    return TokenizedRequest((0,) * PREFIX_TOKENS, (ids,) * documents, tuple(range(documents)), (0,) * documents)


def compare(rate: Rate) -> list[dict[str, Any]]:
    """Return measured and computed seconds of whole calls on the measured card, for its own FLOPs."""
    shape = PUBLISHED["Qwen/Qwen3-Reranker-8B"]
    return [
        {
            "workload": one["name"],
            "documents": one["documents"],
            "mean_tokens": one["mean_tokens"],
            "measured": one["rows"][0]["seconds"]["median"],
            "computed": time_of(one["flops"], one["tokens"]["passes"], shape, MEASURED_CARD, rate, one["name"]),
        }
        for one in _results("gpu-speed-8b")["workloads"]
        if one["name"] in (*WORKLOAD_OF_TOKENS.values(), "small")
    ]


def _results(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = record["results"]
    return results


if __name__ == "__main__":
    main()
