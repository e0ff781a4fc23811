"""A connection to a database file that several threads take turns to use, and that no forked child inherits.

SQLite forbids to carry a connection across a fork: a child that closes it, even while it exits, may release locks and
delete the log of its parent. So every connection is closed before a fork, and opened again when it is needed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from qwen3_rerank_plugins.engine.concurrency.forks import at_fork


class Connection:
    """Opens the file at its first use.

    Args:
        path: the file.
        prepare: checks or makes the tables of a connection that was just opened.
        patience: seconds to wait for another connection that writes.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None], patience: float) -> None:
        self._path, self._prepare, self._patience = path, prepare, patience
        self._opened: sqlite3.Connection | None = None
        self.lock = threading.RLock()
        with _lock:
            _connections.add(self)

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection, in autocommit mode.

        Raises:
            sqlite3.Error: the file cannot be opened, or `prepare` refuses it.
        """
        with self.lock:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                with contextlib.suppress(sqlite3.Error):
                    opened.close()

    def _open(self) -> sqlite3.Connection:
        opened = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        try:
            self._prepare(opened)
        except BaseException:
            opened.close()
            raise
        return opened


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[None]:
    """Write everything or nothing, or with "DEFERRED" read one state of the file."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some failures have ended the transaction already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


_lock = threading.RLock()
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_held: list[Connection] = []


def _before_fork() -> None:
    _lock.acquire()
    _held.extend(_connections)
    for connection in _held:
        connection.lock.acquire()
        connection.close()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603
    for connection in _held:
        connection.lock = threading.RLock()
    _held.clear()
    _lock = threading.RLock()


at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
