"""Share one loaded engine per settings and process among all rerankers and adapters.

An engine stays loaded until all its users have closed, because applications create adapters per request and loading the
weights takes seconds to minutes. `close_all()` frees all engines at once.
"""

from __future__ import annotations

import atexit
import dataclasses
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

from qwen3_rerank_plugins.engine.concurrency.forks import at_fork
from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call, run_outside
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import ClosedError, SettingsError
from qwen3_rerank_plugins.remote.settings import RemoteSettings


class SharedSettings(Protocol):
    """The settings of an engine. They are hashable, and equal only to settings of the same kind of engine."""

    @property
    def cache_key(self) -> Self:
        """The same value for all spellings of the same settings."""
        ...

    @property
    def token(self) -> str | None:
        """Hub access token, which is not part of the key."""
        ...


class SharedEngine(Protocol):
    """A model in this process, or a connection to one."""

    def renew_token(self, token: str | None) -> None:
        """Use a newer hub token for files that are not loaded yet."""
        ...

    def close(self) -> None:
        """Free the memory. Closing twice is fine."""
        ...


@dataclasses.dataclass(eq=False, slots=True)
class _Entry:
    engine: Any  # the engine that `make` returned
    users: weakref.WeakSet[object]


S = TypeVar("S", bound=SharedSettings)
E = TypeVar("E", bound=SharedEngine)
_entries: dict[SharedSettings, _Entry] = {}
_lock = threading.RLock()
"""Held for a few statements only, which read no file and close no engine. A signal handler or a finalizer may interrupt
them on the same thread and enter this module again. So every statement leaves the entries consistent."""
_exiting = False


def acquire(settings: EngineSettings, user: object) -> Scorer:
    """Return the engine for these settings, made at the first call.

    `user` counts as a user of the engine until it is released or garbage-collected.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    return share(settings, LocalScorer, user)


def share(settings: S, make: Callable[[S], E], user: object | None = None) -> E:
    """`acquire` for any kind of engine. An engine without users stays until `close_all`."""
    entry = _entries.get(settings.cache_key)
    if entry is None or not (user is None or user in entry.users):  # a known user needs no lock
        with inside_a_call(), _lock:
            entry = _join(settings, make, user)
    engine: E = entry.engine
    engine.renew_token(settings.token)  # the first user may have had none, and failed to load
    return engine


def _join(settings: S, make: Callable[[S], E], user: object | None) -> _Entry:
    if _exiting:
        raise ClosedError("The interpreter is exiting, and every engine was closed. Finish your calls before it does.")
    key = settings.cache_key
    while True:
        entry = _entries.get(key) or _entries.setdefault(key, _Entry(make(settings), weakref.WeakSet()))
        if user is not None:
            entry.users.add(user)
        if _entries.get(key) is entry:  # otherwise a signal handler has closed it meanwhile
            return entry


def release(settings: SharedSettings, user: object) -> None:
    """Remove a user, and close the engine if it has no other user.

    The engine is closed when this returns. In a signal handler or a finalizer that interrupts another call of the same
    thread, another thread closes it instead.
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


class EngineUser:
    """Base of the reranker: it finds its engine at each call, and releases it once.

    A copy is the object itself, so that it shares the engine and is closed with it.

    Args:
        settings: the model in this process.
        remote: the rerank server to use instead; None for a model in this process.
        scorer: the caller's engine, used instead of both and never closed.
    """

    def __init__(self, settings: EngineSettings, remote: RemoteSettings | None, scorer: Scorer | None) -> None:
        self.settings = settings
        self.remote = remote
        self._own_scorer = scorer
        self._closed = False
        if remote is not None:
            if scorer is not None:
                raise SettingsError("remote=... and scorer=... are two engines; pass only one.")
            import qwen3_rerank_plugins.remote.scorer  # noqa: F401  # so that a missing extra fails here, not later

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        name = type(self).__name__
        if "settings" not in vars(self):  # the constructor failed, and an error report shows the object
            return f"{name}(unmade)"
        settings = self.settings
        if self.remote is not None:
            return f"{name}({settings.model!r}, remote={self.remote.url!r})"
        where = f"devices={list(settings.devices)!r}" if settings.devices else f"device={settings.device!r}"
        return f"{name}({settings.model!r}, {where}, dtype={settings.dtype!r})"

    @property
    def loads_a_model(self) -> bool:
        """Whether a model runs in this process, because there is neither a server nor a scorer of the caller's."""
        return self.remote is None and self._own_scorer is None

    def warmup(self) -> None:
        """Load the model and run it once, so that the first request is fast."""
        scorer = self._scorer()
        with inside_a_call():
            scorer.warmup()

    def close(self) -> None:
        """Stop using the engine. Its memory is freed once no other reranker uses it. Closing twice is fine."""
        if not self._closed:
            self._release()

    def _scorer(self) -> Scorer:
        self._refuse_closed()
        if self.remote is not None:
            from qwen3_rerank_plugins.remote.scorer import RemoteScorer

            scorer: Scorer = share(self.remote, RemoteScorer, self)
        else:
            scorer = self._own_scorer or acquire(self.settings, self)
        try:
            self._refuse_closed()  # another thread or a signal handler may have closed it meanwhile
        except ClosedError:
            self._release()
            raise
        return scorer

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("This reranker is closed. Make a new one to go on.")

    def _release(self) -> None:
        self._closed = True
        if self._own_scorer is None:
            release(self.remote or self.settings, self)


def close_all() -> None:
    """Close every engine of this process and free its memory. The next call of an open reranker loads it again."""
    with inside_a_call(), _lock:
        engines = [entry.engine for entry in list(_entries.values())]
        _entries.clear()
    for engine in engines:
        run_outside(engine.close)


def _close_for_good() -> None:
    """Close all engines and make no more, because a daemon thread could load one into an exiting interpreter."""
    global _exiting  # noqa: PLW0603
    _exiting = True
    close_all()


def _forget_the_parent() -> None:
    """Forget all engines in a forked child, because their threads run in the parent only."""
    global _entries, _lock
    _entries, _lock = {}, threading.RLock()


at_fork(after_in_child=_forget_the_parent)
atexit.register(_close_for_good)
