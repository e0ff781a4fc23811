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

from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import ClosedError


class Settings(Protocol):
    """What decides which engine is loaded; hashable, and equal only to those of the same kind of engine."""

    @property
    def identity(self) -> Self:
        """The same for every spelling of the same thing."""
        ...

    @property
    def token(self) -> str | None:
        """Hub access token, no part of the identity."""
        ...


class Engine(Protocol):
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


S = TypeVar("S", bound=Settings)
E = TypeVar("E", bound=Engine)
_entries: dict[Settings, _Entry] = {}
_lock = threading.Lock()
_exiting = False


def acquire(settings: EngineSettings, user: object) -> Scorer:
    """The engine for these settings, made at the first call; `user` counts as using it until released or collected.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    return share(settings, LocalScorer, user)


def share(settings: S, make: Callable[[S], E], user: object | None = None) -> E:
    """`acquire` for any kind of engine; one that has no users stays until `close_all`."""
    with _lock:
        if _exiting:
            raise ClosedError(
                "The interpreter is exiting, and every engine was closed. Finish your calls before it does."
            )
        entry = _entries.get(settings.identity)
        if entry is None:
            entry = _entries[settings.identity] = _Entry(make(settings), weakref.WeakSet())
        if user is not None:
            entry.users.add(user)
        engine: E = entry.engine
        engine.renew_token(settings.token)  # the first to ask may have had none, and failed for it
        return engine


def release(settings: Settings, user: object) -> None:
    """`user` is done; the engine is closed if nobody else uses it."""
    with _lock:
        entry = _entries.get(settings.identity)
        if entry is None:
            return
        entry.users.discard(user)
        if entry.users:
            return
        del _entries[settings.identity]
    entry.engine.close()


def close_all() -> None:
    """Close every engine of this process and free its memory; rerankers made from now on load anew."""
    with _lock:
        engines = [entry.engine for entry in _entries.values()]
        _entries.clear()
    for engine in engines:
        engine.close()


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
