"""Progress lines for long work where no terminal shows a bar: one every ten seconds, and none for short work."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Callable, Iterator

from qwen3_rerank_plugins.engine.concurrency.threads import start_thread

EVERY = 10.0
"""Seconds between lines, and before the first."""


class Progress:
    """The progress of some work.

    Args:
        description: names the work.
        total: the amount of work; None if unknown.
    """

    def __init__(self, description: str, total: float | None) -> None:
        self.description = description
        self._total, self._done = total, 0.0
        self._lock = threading.Lock()

    def advance(self, share: float) -> None:
        """Add an amount of finished work."""
        with self._lock:
            self._done += share

    def describe(self, elapsed: float) -> str:
        """Return the progress in words.

        Args:
            elapsed: seconds since the work began.
        """
        with self._lock:
            done, total = self._done, self._total
        parts = [_time(elapsed)]
        if total:
            share = min(1.0, done / total)
            if total > 1:
                parts.insert(0, f"{int(done + 1e-6):,} of {total:,.0f}")
            parts.insert(0, f"{share:.0%}")
            if 0 < share < 1:
                parts.append(f"about {_time(elapsed / share - elapsed)} left")
        elif done:
            parts.insert(0, f"{int(done + 1e-6):,} done")
        return f"{self.description}: {', '.join(parts)}"


@contextlib.contextmanager
def heartbeat(describe: Callable[[float], str], say: Callable[[str], None]) -> Iterator[None]:
    """While the body runs, print its progress every ten seconds."""
    finished = threading.Event()
    thread = threading.Thread(target=beat, args=(describe, say, finished.wait), name="heartbeat", daemon=True)
    start_thread(thread)
    try:
        yield
    finally:
        finished.set()
        thread.join()


def beat(
    describe: Callable[[float], str],
    say: Callable[[str], None],
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Print a line after each wait, until a wait ends because the work is finished.

    Args:
        describe: returns the line, given the seconds since the beginning.
        say: prints the line. If its stream fails, no more lines are printed and the work continues.
        wait: waits for that many seconds; returns true as soon as the work is finished.
        clock: returns seconds.
    """
    started = clock()
    while not wait(EVERY):
        try:
            say(describe(clock() - started))
        except (OSError, ValueError):
            return


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
