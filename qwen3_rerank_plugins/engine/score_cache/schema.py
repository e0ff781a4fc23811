"""The tables of a cache file, and how a file is recognized as one.

Table `scores` has one row per score, and `turn` grows with every write and use: the smallest turn was not used for
longest. The value of a row carries a checksum, because SQLite has none and a damaged byte must not become a score.
Table `digests` has the digest of each weight file and the signature that the file had when it was read.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import struct

from qwen3_rerank_plugins.engine.score_cache.connection import transaction
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore

APPLICATION_ID = 0x51337263
"""The number in the file's header by which SQLite lets applications mark their files; "Q3rc" in ASCII."""
VERSION = 1
ENTRY_BYTES = 192
"""Bytes of the file per score: its row, its place in the index of keys, and the room that a B-tree leaves free. A test
measures it."""
LOG_BYTES = 4 * 2**20
"""Most bytes that the write-ahead log keeps once nobody reads from it."""
_TABLES = (
    "CREATE TABLE scores (turn INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)",
    "CREATE TABLE digests (file TEXT PRIMARY KEY, signature TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE entries (count INTEGER NOT NULL)",
    "INSERT INTO entries VALUES (0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
_VALUE = struct.Struct("<d?")
_CHECKSUM_BYTES = 6


class ForeignFileError(sqlite3.DatabaseError):
    """The file is a database of another application, or of another version of this package."""


def prepare(connection: sqlite3.Connection) -> None:
    """Check the tables of a file, and make them in an empty one.

    Raises:
        ForeignFileError: the file belongs to another application or version.
        sqlite3.Error: the file is damaged, or cannot be written.
    """
    with transaction(connection, "DEFERRED"):  # another process may be making the tables
        ours = _is_ours(connection)
    if not ours:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            if not _is_ours(connection):  # another process may have been faster
                for statement in _TABLES:
                    connection.execute(statement)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")


def to_value(key: bytes, score: CachedScore) -> bytes:
    """Return a score as bytes with a checksum of these and the key."""
    packed = _VALUE.pack(*score)
    return packed + _checksum(key + packed)


def from_value(key: bytes, value: object) -> CachedScore | None:
    """Return the score in a row; None if the row is damaged."""
    if not isinstance(value, bytes) or len(value) != _VALUE.size + _CHECKSUM_BYTES:
        return None
    packed = value[: _VALUE.size]
    if _checksum(key + packed) != value[_VALUE.size :]:
        return None
    score = CachedScore(*_VALUE.unpack(packed))
    return score if math.isfinite(score.log_odds) else None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the file has our tables; False if it is empty."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if (application, version) == (APPLICATION_ID, VERSION):
        return True
    if application == APPLICATION_ID:
        raise ForeignFileError(f"its format is version {version}, and this package reads version {VERSION}")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if application or tables:
        raise ForeignFileError("it is a database of another application")
    return False
