"""One call of a reranker: when it must be answered, how much work it may wait behind, and what was computed for it.

A call may make several requests, and a request several shards, so all of them share its `Call`. It is the only object
that the stages of a request change, on different threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

from qwen3_rerank_plugins.errors import RerankTimeoutError

MaxWaitingTokens = int | Literal["auto"] | None
"""Tokens that may wait when a call arrives; "auto" is about `AUTO_WAITING_SECONDS` of work, None is no limit."""
AUTO_WAITING_SECONDS = 30.0


class Call:
    """The time and the limits of one call. It begins when this object is made.

    Args:
        timeout: seconds for waiting and computing together; None for no limit.
        max_waiting_tokens: see `MaxWaitingTokens`.
        clock: seconds, as `time.monotonic`.

    Attributes:
        timeout: as passed.
        max_waiting_tokens: as passed.
        admitted: whether a scheduler has accepted its first request. Its later requests are then accepted as well.
    """

    def __init__(
        self,
        timeout: float | None = None,
        max_waiting_tokens: MaxWaitingTokens = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self.max_waiting_tokens: MaxWaitingTokens = max_waiting_tokens
        self.admitted = False
        self._clock = clock
        self._began = clock()
        self._given_up = False
        self._lock = threading.Lock()
        self._running = 0  # passes with its documents
        self._running_since = 0.0
        self._computed = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the call is late, 0.0 if it is; None without a timeout."""
        return None if self.timeout is None else max(0.0, self._began + self.timeout - self._clock())

    @property
    def late(self) -> bool:
        """Whether nobody waits for the answer anymore: the time is up, or the caller has given up."""
        return self._given_up or self.seconds_left == 0.0

    def check(self) -> None:
        """Raise `RerankTimeoutError` if the call is late."""
        if self.late:
            raise self.late_error()

    def give_up(self) -> None:
        """Make the call late, because it failed or its task was canceled."""
        self._given_up = True

    def late_error(self) -> RerankTimeoutError:
        """Return the error of a late call, with where its time went."""
        waited, computed = self.seconds()
        return RerankTimeoutError(
            f"The call was not finished within its timeout of {self.timeout or 0.0:g} seconds: it waited for "
            f"{waited:.2f} seconds, and was computed for {computed:.2f} seconds. Raise timeout, send less at once, or "
            "load the model before the first call with warmup().",
            waiting_seconds=waited,
            computing_seconds=computed,
        )

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Count the time inside as computing time. Passes that run at the same time count once."""
        self.pass_begins()
        try:
            yield
        finally:
            self.pass_ends()

    def pass_begins(self) -> None:
        """Count the time from now on as computing time."""
        with self._lock:
            if not self._running:
                self._running_since = self._clock()
            self._running += 1

    def pass_ends(self) -> None:
        """End what the matching `pass_begins` began."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._computed += self._clock() - self._running_since

    def seconds(self) -> tuple[float, float]:
        """Return for how many seconds the call has waited and been computed so far."""
        with self._lock:
            now = self._clock()
            computed = self._computed + (now - self._running_since if self._running else 0.0)
            return max(0.0, now - self._began - computed), computed


class Meter:
    """What was computed for one request of a call.

    Args:
        call: the call that made the request.

    Attributes:
        call: as passed.
        unique_tokens: tokens that passes computed for this request.
        passes: how many passes scored its documents.
    """

    def __init__(self, call: Call | None = None) -> None:
        self.call = call or Call()
        self.unique_tokens = 0
        self.passes = 0
        self._lock = threading.Lock()

    def count_pass(self, tokens: int) -> None:
        """Count one pass that computed so many tokens for this request. Shards count on different threads."""
        with self._lock:
            self.unique_tokens += tokens
            self.passes += 1
