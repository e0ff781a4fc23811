"""The folder of answers: made, locked by one job at a time, and errors of its disk told as such."""

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
"""The lock itself, which ends with the process that holds it, and who that is."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if it is not there, and keep every other job out of it.

    The system releases the lock when its holder ends, however that happens: a lock that is left behind holds nobody up.

    Raises:
        SettingsError: the folder cannot be made or written to, or another job is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SettingsError(f"{folder} cannot be a folder: {error.filename} is a file. Name another folder.") from error
    except OSError as error:
        raise _no_place(folder, error) from error
    lock = filelock.FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise SettingsError(
            f"{folder} is in use by another job{_holder(folder)}. Wait until it has ended, or name another folder."
        ) from None
    except OSError as error:
        raise _no_place(folder, error) from error
    try:
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        write_whole(folder / HOLDER, json.dumps(who))
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def write_whole(file: Path, text: str) -> None:
    """A file with this text, or none, or the one that was there before.

    Raises:
        BatchError: the disk does not take it.
    """
    new = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with writing(file):
        try:
            with new.open("w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """A disk that is full, or does not let this user write, in words.

    Raises:
        BatchError: something in the body fails for the disk.
    """
    try:
        yield
    except OSError as error:
        remedy = "Make room" if error.errno in _FULL else "Check the disk, and who may write there"
        raise BatchError(
            f"{file} cannot be written on {socket.gethostname()}: {error.strerror or error}. {remedy}, then run the "
            "same again: it goes on from what is finished."
        ) from error


def _no_place(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{folder} cannot be used for answers: {error.strerror or error}. Name a folder where you may write."
    )


def _holder(folder: Path) -> str:
    try:
        who = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f", process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


FOLDER = "_finished"
Finished = Mapping[str, set[str]]
"""SHA-256 of each content that a file of answers may have, by its name; several where actors died after writing it."""


class FinishedLog:
    """What one actor has finished.

    Args:
        folder: of the answers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FOLDER / f"{uuid.uuid4().hex}.jsonl"

    def add(self, name: str, sha256: str) -> None:
        """Note a file of answers.

        Raises:
            OSError: the disk does not take it.
        """
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"file": name, "sha256": sha256}) + "\n")
            out.flush()
            os.fsync(out.fileno())


def read_finished(folder: Path) -> Finished:
    """Everything that the actors of all runs have noted; lines that a full disk cut short are left out."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for file in (folder / FOLDER).glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                noted = json.loads(line)
                found[noted["file"]].add(noted["sha256"])
            except (ValueError, KeyError, TypeError):
                continue
    return found
