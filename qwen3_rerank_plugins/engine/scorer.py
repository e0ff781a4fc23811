"""The seam: one request in, its log-odds out, in a future.

Local, remote and fake engines implement `Scorer`; the facade and the adapters know nothing else.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from typing import Protocol

from qwen3_rerank_plugins.engine.request import RerankRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """What an engine found out about the documents of one request, in the request's order.

    Attributes:
        log_odds: logit("yes") - logit("no") in float32 precision; -inf for a document with nothing to read.
        truncated_tokens: how many tokens of each document the model did not see.
        spans: for a document that was read in windows, the characters of the one that its log-odds are of; None for any
            other document. Empty if there is none that was.
        rescored: positions of documents whose score overflowed in 16 bits and is float32's.
        damage: what is wrong with the weights, and what to do, where a score is not finite because of them.
    """

    log_odds: tuple[float, ...]
    truncated_tokens: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...] = ()
    rescored: tuple[int, ...] = ()
    damage: str = ""


class Scorer(Protocol):
    """An engine. Safe to call from any thread."""

    def submit(self, request: RerankRequest) -> Future[Scores]:
        """Queue a request. Bad requests raise here; whatever fails later arrives through the future."""
        ...

    def warmup(self) -> None:
        """Load everything and run once, so that the first request does not pay for it."""
        ...

    def close(self) -> None:
        """Finish what waits, then free the model. Later calls raise `ClosedError`; closing twice is fine."""
        ...
