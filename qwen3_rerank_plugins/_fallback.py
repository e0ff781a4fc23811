"""What the adapters do while the reranker fails: raise the error, or return the documents in retrieval order."""

from __future__ import annotations

from typing import Literal

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.errors import (
    CheckpointError,
    DeviceMemoryError,
    OverloadedError,
    PassError,
    RemoteRefusedError,
    RemoteUnreachableError,
    RerankTimeoutError,
    ThreadStartError,
)

OnFailure = Literal["raise", "retrieval_order"]
FAILURE_KEY = "rerank_failure"
"""Metadata entry of documents that were not reranked: the reason, as text."""
FAILURES = (
    RerankTimeoutError,
    OverloadedError,
    RemoteUnreachableError,
    RemoteRefusedError,
    CheckpointError,
    DeviceMemoryError,
    PassError,
    ThreadStartError,
)
"""Errors that may say that the reranker is slow or down; see `is_failure`."""
_BUSY, _BROKEN = 429, 500


def is_failure(error: BaseException) -> bool:
    """Whether an error says that the reranker is slow or down, and not that the call or the scores are wrong.

    A server that refuses the request itself, for instance because the API key is wrong, has not failed.
    """
    if isinstance(error, RemoteRefusedError):
        return error.status == _BUSY or error.status >= _BROKEN
    return isinstance(error, FAILURES)


def reason_of(error: BaseException, min_score: float | None) -> str:
    """Return the entry for `FAILURE_KEY`, and log one warning per kind of error and process."""
    _warn_once(type(error).__name__, str(error))
    unfiltered = "" if min_score is None else f" min_score={min_score:g} was not applied."
    return f"{type(error).__name__}: {error}{unfiltered}"


_WARNED: set[str] = set()
"""The kinds of errors that were logged."""


def _warn_once(kind: str, message: str) -> None:
    if kind not in _WARNED:
        _WARNED.add(kind)
        logger.warning(
            "Documents are returned in retrieval order, without scores, as long as this goes on: %s: %s", kind, message
        )
