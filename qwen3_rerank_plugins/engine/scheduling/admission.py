"""Refuse a call while too much work is waiting, with an estimate of when there is room again."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from qwen3_rerank_plugins.engine.call import AUTO_WAITING_SECONDS, Call
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest
from qwen3_rerank_plugins.errors import OverloadedError

_SHORTEST_RETRY = 0.1


def admit(
    call: Call, own: QueuedRequest | None, queue: Collection[QueuedRequest], rate: float | None, share: int | None
) -> None:
    """Let a call in, or raise.

    A call is let in, whatever its size, if fewer tokens wait than its limit, and so are its later requests. A small
    request counts only the small ones before it, because large ones do not hold it up.

    Args:
        call: the call, with its limit.
        own: the request to queue; None before it is tokenized, when a refusal must hold for any size.
        queue: the requests that wait.
        rate: tokens a second; None before the first pass, when "auto" is no limit.
        share: tokens of the largest small request; None before the model is loaded, when all requests count.

    Raises:
        OverloadedError: at least as many tokens wait as the limit allows.
    """
    limit = call.max_waiting_tokens
    if limit == "auto":
        limit = None if rate is None else max(1, int(rate * AUTO_WAITING_SECONDS))
    if limit is None:
        return
    small = share is not None and (own is None or own.remaining.tokens <= share)
    waiting = waiting_tokens(one for one in queue if not small or (share and one.remaining.tokens <= share))
    if waiting < limit:
        call.admitted = own is not None
        return
    seconds = max(_SHORTEST_RETRY, (waiting - limit) / rate) if rate else 1.0
    raise OverloadedError(
        f"{waiting:,} tokens are waiting, and max_waiting_tokens={call.max_waiting_tokens!r} allows {limit:,}. There "
        f"should be room in {seconds:.1f} seconds. Call again then, or raise max_waiting_tokens.",
        retry_after=seconds,
    )


def waiting_tokens(requests: Iterable[QueuedRequest]) -> int:
    """Return the tokens of the documents that no batch has taken, each request's prefix included."""
    return sum(queued.remaining.tokens for queued in requests if not queued.future.done())
