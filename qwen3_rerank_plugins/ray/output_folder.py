"""The folder of answers: one job at a time, durable writes, a log of finished files, and clear errors of its disk."""

from __future__ import annotations

import collections
import contextlib
import datetime
import errno
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from qwen3_rerank_plugins.errors import BatchError, SettingsError

LOCK, HOLDER = "_lock", "_lock.json"
"""The lock, which the system releases when its process ends, and a description of that process."""
FINISHED = "_finished"
"""The folder of the logs of finished files, one log per actor."""
Finished = Mapping[str, set[str]]
"""SHA-256 of each finished file by its name; several if an actor died between its entry and the file's final name."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if it is missing, and keep all other jobs out of it.

    The system releases the lock when its process ends, however it ends, so a lock file that is left behind has no
    effect.

    Raises:
        SettingsError: the folder cannot be made or written to, or another job uses it.
    """
    lock = filelock.FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise SettingsError(
            f"{folder} is in use by another job{_holder(folder)}. Wait until it has ended, or name another folder."
        ) from None
    except (FileExistsError, NotADirectoryError) as error:
        raise SettingsError(f"{folder} cannot be a folder: {error.filename} is a file. Name another folder.") from error
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be used for answers: {error.strerror or error}. Name a folder that you can write to."
        ) from error
    try:
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        replace_file(folder / HOLDER, json.dumps(holder))
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def replace_file(file: Path, text: str) -> None:
    """Write a file atomically: it has either the new text or its previous state.

    Raises:
        BatchError: the file cannot be written.
    """
    new = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with disk_errors(file):
        try:
            write_durably(new, text.encode())
            new.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def write_durably(file: Path, content: bytes, mode: str = "wb") -> None:
    """Write a file and wait until its content is on disk.

    Raises:
        OSError: the file cannot be written.
    """
    with file.open(mode) as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


@contextlib.contextmanager
def disk_errors(file: Path) -> Iterator[None]:
    """Explain why a file cannot be written.

    Raises:
        BatchError: the body raised an OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = "Free some space" if error.errno in _FULL else "Check the disk and its permissions"
        raise BatchError(
            f"{file} cannot be written on {socket.gethostname()}: {error.strerror or error}. {remedy}, then run the "
            "job again: it computes only what is missing."
        ) from error


class FinishedLog:
    """One actor's log of finished files.

    Args:
        folder: the folder of answers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FINISHED / f"{uuid.uuid4().hex}.jsonl"

    def add(self, name: str, sha256: str) -> None:
        """Add a file of answers.

        Raises:
            OSError: the log cannot be written.
        """
        self._file.parent.mkdir(exist_ok=True)
        write_durably(self._file, json.dumps({"file": name, "sha256": sha256}).encode() + b"\n", "ab")


def read_finished(folder: Path) -> Finished:
    """Read the logs of all actors and runs, without lines that were truncated by a full disk."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for file in (folder / FINISHED).glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found[entry["file"]].add(entry["sha256"])
    return found


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f", process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
