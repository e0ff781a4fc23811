"""The protocol that local, remote and test scorers implement: one request in, a future of its log-odds out."""

from __future__ import annotations

import dataclasses
import math
import os
from concurrent.futures import Future
from typing import Protocol

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.errors import ClosedError


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one request, in the order of its documents.

    Attributes:
        log_odds: logit("yes") - logit("no") of each document, in float32 precision; -inf for a blank document.
        truncated_tokens: tokens of each document that the model did not see.
        spans: (start, end) characters of the window that the log-odds belong to, for each document read in windows;
            None for any other document. Empty if no document was read in windows.
        rescored: positions of documents whose score overflowed in 16 bits and was computed again in float32.
        damage: what is wrong with the weights and what to do, if damaged weights made a score NaN or infinite;
            otherwise empty.
        naive_tokens, unique_tokens, cache_hits, passes: what the scores cost; see `Usage`. None if unknown.
    """

    log_odds: tuple[float, ...]
    truncated_tokens: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...] = ()
    rescored: tuple[int, ...] = ()
    damage: str = ""
    naive_tokens: int | None = None
    unique_tokens: int | None = None
    cache_hits: int = 0
    passes: int | None = None


class Scorer(Protocol):
    """Scores requests. All methods may be called from any thread."""

    def submit(self, request: RerankRequest) -> Future[Scores]:
        """Queue a request and return a future of its scores.

        Raises:
            RerankError: the request is invalid, or the scorer is closed. Later failures arrive through the future.
        """
        ...

    def warmup(self) -> None:
        """Load everything and run once, so that the first request does not have to wait for it."""
        ...

    def close(self) -> None:
        """Finish the queued requests, then free the model.

        Later calls of `submit` and `warmup` raise `ClosedError`. Closing again does nothing.
        """
        ...


def blank_scores(request: RerankRequest) -> Future[Scores]:
    """Return the scores of a request whose documents are all blank: -inf for each, available at once."""
    count = len(request.documents)
    future: Future[Scores] = Future()
    future.set_result(Scores((-math.inf,) * count, (0,) * count, naive_tokens=0, unique_tokens=0, passes=0))
    return future


def check_process(made_in: int, what: str) -> None:
    """Refuse to use a scorer in a forked child of the process that made it.

    Args:
        made_in: process ID at the time when the scorer was made.
        what: the scorer in messages, "engine" or "connection".

    Raises:
        ClosedError: this is another process.
    """
    if os.getpid() != made_in:
        raise ClosedError(
            f"This {what} was made before this process was forked, and its threads do not exist here. Make a new one "
            "in this process, or start processes with the 'spawn' method."
        )
