"""One loaded engine per settings and process, shared by the facade and every adapter.

An engine stays loaded until everybody who uses it has closed, because applications make adapters per request and the
weights take seconds to minutes to load. `close_all()` frees everything at once.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import threading
import weakref

from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import ClosedError


@dataclasses.dataclass(eq=False, slots=True)
class _Entry:
    scorer: LocalScorer
    users: weakref.WeakSet[object]


_entries: dict[EngineSettings, _Entry] = {}
_lock = threading.Lock()
_exiting = False


def acquire(settings: EngineSettings, user: object) -> Scorer:
    """The engine for these settings, made at the first call; `user` counts as using it until released or collected.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    with _lock:
        if _exiting:
            raise ClosedError(
                "The interpreter is exiting, and every engine was closed. Finish your calls before it does."
            )
        entry = _entries.get(settings.identity)
        if entry is None:
            entry = _entries[settings.identity] = _Entry(LocalScorer(settings), weakref.WeakSet())
        entry.users.add(user)
        entry.scorer.renew_token(settings.token)  # the first to ask may have had none, and failed for it
        return entry.scorer


def release(settings: EngineSettings, user: object) -> None:
    """`user` is done; the engine is closed if nobody else uses it."""
    with _lock:
        entry = _entries.get(settings.identity)
        if entry is None:
            return
        entry.users.discard(user)
        if entry.users:
            return
        del _entries[settings.identity]
    entry.scorer.close()


def close_all() -> None:
    """Close every engine of this process and free its memory; rerankers made from now on load anew."""
    with _lock:
        scorers = [entry.scorer for entry in _entries.values()]
        _entries.clear()
    for scorer in scorers:
        scorer.close()


def _close_for_good() -> None:
    """A daemon thread that goes on asking would load an engine into a dying interpreter, and crash it."""
    global _exiting  # noqa: PLW0603
    with _lock:
        _exiting = True
    close_all()


def _renew_lock() -> None:
    """A forked child may have inherited the lock while another thread of the parent held it."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
atexit.register(_close_for_good)
