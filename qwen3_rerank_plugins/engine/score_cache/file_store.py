"""Cached scores in a file. Whatever happens to the file, a request is answered: without it, everything is computed.

Scores are written by a thread of their own, so that neither the model nor a caller waits for the disk. Until they are
written, they are found in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from qwen3_rerank_plugins._printable import logger, one_line
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore
from qwen3_rerank_plugins.errors import RerankError

T = TypeVar("T")
_MOST_WAITING = 100_000
"""Scores that wait to be written. While another process blocks the file for long, later ones are not kept."""
_USES_AT_ONCE = 1000
"""Uses that are noted together if no scores are written meanwhile."""
_PATIENCE = 1.0
"""Seconds before the thread tries again to write to a file that another process blocks."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FAILURES = (sqlite3.Error, OSError, ValueError, TypeError, OverflowError)
"""Those of SQLite and of the disk, and what a damaged value raises."""


class FileStore:
    """Cached scores in a file; see `ScoreStore`. Nothing is opened before the first use.

    Args:
        path: the file; it is made if there is none.
        limit: most bytes on disk, about.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._file = ScoreFile(path, limit, _PATIENCE)
        self._waiting: dict[bytes, CachedScore] = {}
        self._used: dict[bytes, None] = {}
        self._wake = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._closed = False
        self._moved_aside = False

    @property
    def stopped(self) -> bool:
        """Whether nothing is found or kept any more."""
        return self._stopped

    def get(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedScore]:
        """See `ScoreStore.get`."""
        if self._stopped:
            return {}
        with self._wake:
            found = {key: score for key in keys if (score := self._waiting.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        nothing: dict[bytes, CachedScore] = {}
        found |= self._try(lambda: self._file.read(missing), nothing)
        with self._wake:
            self._used.update(dict.fromkeys(found))
            if len(self._used) >= _USES_AT_ONCE:
                self._ask_for_writing()
        return found

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """See `ScoreStore.put`."""
        with self._wake:
            if scores and not self._stopped and len(self._waiting) < _MOST_WAITING:
                self._waiting.update(scores)
                self._ask_for_writing()

    def digest(self, file: str, signature: str) -> bytes | None:
        """Return a remembered digest; see `ScoreFile.digest`."""
        return self._try(lambda: self._file.digest(file, signature), None)

    def remember_digest(self, file: str, signature: str, digest: bytes) -> None:
        """Remember a digest; see `ScoreFile.remember_digest`."""
        self._try(lambda: self._file.remember_digest(file, signature, digest), None)

    def close(self) -> None:
        """See `ScoreStore.close`. Waits until the scores are written, but not for a file that is blocked."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        elif not self._stopped:
            self._write()
        self._stop()

    def _ask_for_writing(self) -> None:
        self._wake.notify_all()
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="qwen3-rerank-cache", daemon=True)
            with contextlib.suppress(RerankError):  # no more threads: `close` writes, or the next call tries again
                start_thread(thread)
                self._thread = thread

    def _run(self) -> None:
        while not self._stopped:
            with self._wake:
                while not (self._waiting or len(self._used) >= _USES_AT_ONCE or self._closed or self._stopped):
                    self._wake.wait()
            written = self._write()
            with self._wake:
                if self._closed:
                    return
                if not written:
                    self._wake.wait(_PATIENCE)

    def _write(self) -> bool:
        """Write what waits. Return False if another process blocks the file."""
        with self._wake:
            scores, used = dict(self._waiting), list(self._used)
            self._used.clear()
        if not (scores or used):
            return True

        def write() -> bool:
            self._file.write(scores, used)
            return True

        written = self._try(write, False)
        if written:
            with self._wake:
                for key in scores:
                    self._waiting.pop(key, None)
        return written

    def _try(self, use: Callable[[], T], otherwise: T) -> T:
        """Return what a use of the file returns. If it fails, handle that, and go on with another value."""
        try:
            return use()
        except _FAILURES as error:
            self._handle(error)
            return otherwise

    def _handle(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits tell where in SQLite it happened
        if code in _BUSY or isinstance(error, sqlite3.ProgrammingError):  # closed meanwhile, by a fork or by `close`
            return
        with self._wake:
            if self._stopped:
                return
            damaged = code in _DAMAGED or not isinstance(error, (sqlite3.Error, OSError))
            if damaged and not self._moved_aside:
                self._moved_aside = True
                if self._move_aside(error):
                    return
            self._stop()
        logger.warning(
            "The score cache %s is switched off: %s. Scores are computed as without a cache. Check the path, its "
            "permissions and the free space, or pass another cache.",
            self._path,
            one_line(error),
        )

    def _move_aside(self, error: Exception) -> bool:
        try:
            aside = self._file.move_aside()
        except OSError:
            return False
        if aside is not None:
            logger.warning(
                "The score cache %s is damaged (%s). It is now %s, and a new one is made. Delete the damaged one if "
                "you do not need it.",
                *(self._path, one_line(error), aside),
            )
        return True

    def _stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._waiting.clear()
            self._used.clear()
            self._wake.notify_all()
        self._file.close()
