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
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call, run_outside
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import ClosedError


class SharedSettings(Protocol):
    """What decides which engine is loaded; hashable, and equal only to those of the same kind of engine."""

    @property
    def cache_key(self) -> Self:
        """The same for every spelling of the same thing."""
        ...

    @property
    def token(self) -> str | None:
        """Hub access token, no part of the identity."""
        ...


class SharedEngine(Protocol):
    """A model in this process, whatever it computes."""

    def renew_token(self, token: str | None) -> None:
        """Use a newer hub token, if there is anything left to load."""
        ...

    def close(self) -> None:
        """Free the memory. Closing twice is fine."""
        ...


@dataclasses.dataclass(eq=False, slots=True)
class _Entry:
    engine: Any  # what `make` of its settings made
    users: weakref.WeakSet[object]


S = TypeVar("S", bound=SharedSettings)
E = TypeVar("E", bound=SharedEngine)
_entries: dict[SharedSettings, _Entry] = {}
_lock = threading.RLock()
"""Held for a few lines only, in which no file is read and no engine is closed. A signal handler or a finalizer may come
back here in the middle of those lines, on the same thread: each of them leaves the entries as whoever returns expects.
"""
_exiting = False


def acquire(settings: EngineSettings, user: object) -> Scorer:
    """The engine for these settings, made at the first call; `user` counts as using it until released or collected.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    return share(settings, LocalScorer, user)


def share(settings: S, make: Callable[[S], E], user: object | None = None) -> E:
    """`acquire` for any kind of engine; one that has no users stays until `close_all`."""
    entry = _entries.get(settings.cache_key)
    if entry is None or not (user is None or user in entry.users):  # a user who is known takes no lock
        with inside_a_call(), _lock:
            entry = _join(settings, make, user)
    engine: E = entry.engine
    engine.renew_token(settings.token)  # the first to ask may have had none, and failed for it
    return engine


def _join(settings: S, make: Callable[[S], E], user: object | None) -> _Entry:
    if _exiting:
        raise ClosedError("The interpreter is exiting, and every engine was closed. Finish your calls before it does.")
    key = settings.cache_key
    while True:
        entry = _entries.get(key) or _entries.setdefault(key, _Entry(make(settings), weakref.WeakSet()))
        if user is not None:
            entry.users.add(user)
        if _entries.get(key) is entry:  # else a handler has closed it meanwhile
            return entry


def release(settings: SharedSettings, user: object) -> None:
    """`user` is done; the engine is closed if nobody else uses it.

    The engine is gone when this returns. Only where this interrupts another call of the same thread, as a signal
    handler or a finalizer does, another thread closes it.
    """
    key = settings.cache_key
    with inside_a_call(), _lock:
        entry = _entries.get(key)
        if entry is None:
            return
        entry.users.discard(user)
        if entry.users or _entries.get(key) is not entry:
            return
        _entries.pop(key, None)
    run_outside(entry.engine.close)


def close_all() -> None:
    """Close every engine of this process and free its memory; the next call of an open reranker loads anew."""
    with inside_a_call(), _lock:
        engines = [entry.engine for entry in list(_entries.values())]
        _entries.clear()
    for engine in engines:
        run_outside(engine.close)


def _close_for_good() -> None:
    """A daemon thread that goes on asking would load an engine into a dying interpreter, and crash it."""
    global _exiting  # noqa: PLW0603
    _exiting = True
    close_all()


def _forget_the_parent() -> None:
    """A forked child has none of the threads of its parent, and none of its engines. It makes its own."""
    global _entries, _lock
    _entries, _lock = {}, threading.RLock()


os.register_at_fork(after_in_child=_forget_the_parent)
atexit.register(_close_for_good)
