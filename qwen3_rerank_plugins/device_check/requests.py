"""Requests of given lengths with random IDs, and the small shapes of random models."""

from __future__ import annotations

import random
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

SMALL = Shape(
    hidden=512, layers=4, heads=8, key_value_heads=2, head_dim=128, intermediate=1024, vocabulary=9_216, tied=False
)
"""The head size of the published models, and one that flash attention has kernels for."""
TINY = Shape(
    hidden=128, layers=2, heads=4, key_value_heads=2, head_dim=32, intermediate=256, vocabulary=9_216, tied=False
)
"""For CPUs."""

Layout = Sequence[tuple[int, Sequence[int]]]
"""Requests as (tokens of the prefix, tokens of each document)."""

LAYOUTS: dict[str, Layout] = {
    "one prefix, short documents": [(80, [20, 33, 47, 5])],
    "documents of one token": [(80, [1, 1, 2]), (3, [1])],
    "several prefixes": [(80, [100, 60]), (17, [300]), (200, [9, 9, 9])],
    "long beside short": [(90, [1_400, 1, 64]), (12, [3])],
    "many documents": [(90, [60 + 7 * (n % 11) for n in range(100)])],
    "a long document": [(90, [8_000])],
}
"""Most of them hold documents of different lengths, which a plan sorts."""

_IDS = 9_000
"""IDs below this are ordinary tokens in every vocabulary here."""


def random_requests(layout: Layout, seed: int = 0) -> list[TokenizedRequest]:
    """Return requests with these lengths. Equal seeds give equal requests."""
    source = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(source.randrange(_IDS) for _ in range(length))

    return [
        TokenizedRequest(ids(prefix), tuple(map(ids, documents)), tuple(range(len(documents))), (0,) * len(documents))
        for prefix, documents in layout
    ]


def full_request(tokens: int) -> TokenizedRequest:
    """Return one request of at most so many unique tokens: a prefix of 90 and documents of up to 400."""
    length = min(400, tokens - 90)
    (request,) = random_requests([(90, [length] * ((tokens - 90) // length))])
    return request
