"""A file of cached scores: an SQLite database in WAL mode, which several processes may read and write at once."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qwen3_rerank_plugins.engine.score_cache.connection import Connection, transaction
from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES, from_value, prepare, to_value
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore

_KEYS_AT_ONCE = 500
"""SQLite allows 999 parameters in a statement, in its oldest builds."""
_SUFFIXES = ("", "-wal", "-shm")
"""The database, its write-ahead log and the index of that log."""


class ScoreFile:
    """Opens the file at its first use, and makes it if there is none. Every method may raise `sqlite3.Error`.

    Readers do not wait for writers, so that a lookup never waits for the disk of another process.

    Args:
        path: the file.
        limit: bytes on disk at which the scores that were not used for longest are deleted.
        patience: seconds to wait for another process that writes.
    """

    def __init__(self, path: Path, limit: int, patience: float = 1.0) -> None:
        self._path, self._limit = path, limit
        self._most = limit // ENTRY_BYTES
        self._identity: tuple[int, int] | None = None
        self._reader = Connection(path, self._prepare, patience)
        self._writer = Connection(path, self._prepare, patience)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, CachedScore]:
        """Return the scores that are there."""
        found: dict[bytes, CachedScore] = {}
        with self._reader.use() as connection:
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", some)
                for key, value in rows.fetchall():
                    if (score := from_value(key, value)) is not None:
                        found[key] = score
        return found

    def write(self, scores: Mapping[bytes, CachedScore], used: Iterable[bytes]) -> None:
        """Add scores, note uses, and delete what is over the limit, in one transaction."""
        with self._writer.use() as connection:
            with transaction(connection):
                ((last,),) = connection.execute("SELECT coalesce(max(turn), 0) FROM scores").fetchall()
                turns = itertools.count(last + 1)
                uses = ((next(turns), key) for key in used if key not in scores)
                connection.executemany("UPDATE scores SET turn = ? WHERE key = ?", uses)
                before = connection.total_changes
                rows = ((next(turns), key, to_value(key, score)) for key, score in scores.items())
                connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows)
                self._evict(connection, connection.total_changes - before)
            self._give_back(connection)

    def digest(self, file: str, signature: str) -> bytes | None:
        """Return the digest that was remembered for a file with this signature."""
        with self._reader.use() as connection:
            rows = connection.execute(
                "SELECT digest FROM digests WHERE file = ? AND signature = ?", (file, signature)
            ).fetchall()
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def remember_digest(self, file: str, signature: str, digest: bytes) -> None:
        """Keep the digest of a file. Its earlier one is forgotten."""
        with self._writer.use() as connection:
            connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (file, signature, digest))

    def count(self) -> int:
        """Return how many scores there are."""
        with self._reader.use() as connection:
            ((entries,),) = connection.execute("SELECT count(*) FROM scores").fetchall()
        return int(entries)

    def clear(self) -> None:
        """Delete all scores and digests, and give their space back."""
        with self._writer.use() as connection:
            with transaction(connection):
                for statement in ("DELETE FROM scores", "DELETE FROM digests", "UPDATE entries SET count = 0"):
                    connection.execute(statement)
            _give_back_free_pages(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def move_aside(self) -> Path | None:
        """Rename the file, so that a new one can be made; None if another process has done so already.

        Raises:
            OSError: it cannot be renamed.
        """
        aside = self._path.with_name(f"{self._path.name}.damaged")
        with self._writer.lock, self._reader.lock:
            self.close()
            if self._identity not in (None, _identity(self._path)):
                return None
            for suffix in _SUFFIXES:
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.replace(aside.with_name(aside.name + suffix))
        return aside

    def close(self) -> None:
        """Close the connections. The next use opens them again."""
        self._writer.close()
        self._reader.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._identity = _identity(self._path)
        prepare(connection)
        self._identity = _identity(self._path)

    def _evict(self, connection: sqlite3.Connection, added: int) -> None:
        ((count,),) = connection.execute("SELECT count FROM entries").fetchall()
        count += added
        if count > self._most:  # some more than necessary, so that not every write deletes
            excess = min(count, count - self._most + self._most // 64)
            connection.execute(
                "DELETE FROM scores WHERE turn IN (SELECT turn FROM scores ORDER BY turn LIMIT ?)", (excess,)
            )
            count -= excess
        connection.execute("UPDATE entries SET count = ?", (count,))

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """Shrink a file that is over the limit, because an earlier limit was higher."""
        pragmas = ("page_size", "page_count", "freelist_count")
        size, pages, free = (connection.execute(f"PRAGMA {name}").fetchall()[0][0] for name in pragmas)
        if free and size * pages > self._limit:
            _give_back_free_pages(connection)


def _give_back_free_pages(connection: sqlite3.Connection) -> None:
    connection.executescript("PRAGMA incremental_vacuum")  # `execute` would stop after the first page


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one under the same name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
