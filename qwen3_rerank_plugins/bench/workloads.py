"""The five workloads of the benchmark, from one short list of documents to many mixed requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request

Size = Literal["full", "short"]
MAX_LENGTH = 8192
ROUNDS = 3
"""Rounds of a workload whose calls take seconds: enough for a median."""


@dataclasses.dataclass(frozen=True, slots=True)
class BenchWorkload:
    """Requests that are scored together, as one call."""

    name: str
    requests: tuple[RerankRequest, ...]

    @property
    def documents(self) -> int:
        """Number of documents of all requests."""
        return sum(len(request.documents) for request in self.requests)


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How to draw a workload.

    Attributes:
        full: (queries, documents per query) on a GPU.
        short: (queries, documents per query) on a CPU, where the full size would take minutes.
        lengths: function that draws the token lengths of a number of documents.
        rounds: default number of rounds; more for short calls, because their times vary more.
    """

    full: tuple[int, int]
    short: tuple[int, int]
    lengths: Callable[[RealText, int], list[int]]
    rounds: int = ROUNDS


RECIPES = {
    "passages": Recipe((1, 100), (1, 100), lambda text, count: text.lengths_between(60, 140, count)),
    "chunks": Recipe((1, 50), (1, 24), lambda text, count: text.lengths_between(300, 500, count)),
    "long": Recipe((1, 8), (1, 3), lambda text, count: text.lengths_between(3_800, 4_200, count)),
    "mixed": Recipe((16, 32), (3, 16), lambda text, count: text.log_normal_lengths(90, 1.0, (20, 2_000), count)),
    "small": Recipe((1, 10), (1, 10), lambda text, count: text.lengths_between(40, 80, count), rounds=12 * ROUNDS),
}


def draw_workload(name: str, text: RealText, size: Size) -> BenchWorkload:
    """Draw one of `RECIPES`. Equal seeds of the text give equal workloads."""
    recipe = RECIPES[name]
    queries, documents = recipe.full if size == "full" else recipe.short
    requests = []
    for _ in range(queries):
        lengths = recipe.lengths(text, documents)
        query = text.draw(text.lengths_between(8, 20, 1)[0])
        requests.append(make_request(query, [text.draw(length) for length in lengths], None, MAX_LENGTH))
    return BenchWorkload(name, tuple(requests))
