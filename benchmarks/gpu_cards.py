"""Data-sheet figures of common graphics cards. Nothing in this file was measured."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        name: its name.
        gigabytes: memory as its maker states it.
        tflops: dense TFLOP/s (without sparsity) of matrix products in bfloat16 or float16 with sums in float32.
        source: the document that states it, and the computation where the document states another figure.
    """

    name: str
    gigabytes: int
    tflops: float
    source: str


CARDS = (
    Card(
        "RTX 3060 12 GB",
        12,
        25.5,
        "112 tensor cores x 64 multiply-adds x 2 x 1.78 GHz: cores and boost clock from NVIDIA's page of the GeForce "
        "RTX 3060, rate of a core from the NVIDIA Ampere GA102 GPU Architecture white paper",
    ),
    Card("L4 24 GB", 24, 121.0, "NVIDIA L4 data sheet: 242 with sparsity, halved"),
    Card("A10G 24 GB", 24, 70.0, "NVIDIA A10G data sheet (Amazon EC2 G5)"),
    Card("RTX 4090 24 GB", 24, 165.2, "NVIDIA Ada GPU Architecture white paper, with sums in float32"),
    Card("A100 40 or 80 GB", 40, 312.0, "NVIDIA A100 data sheet"),
    Card("H100 SXM 80 GB", 80, 989.5, "NVIDIA H100 data sheet: 1,979 with sparsity, halved"),
    Card("H200 SXM 141 GB", 141, 989.5, "NVIDIA H200 data sheet: 1,979 with sparsity, halved"),
)
MEASURED_CARD = CARDS[-1]
"""The card of the records `gpu-probe-8b` and `gpu-speed-8b`."""
