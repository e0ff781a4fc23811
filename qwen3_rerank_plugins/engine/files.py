"""Read the files of a checkpoint, or say why one cannot be read and what to do.

A file is opened only once it is known to be a regular file, because a FIFO would block forever and a device may be
endless.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from qwen3_rerank_plugins._printable import one_line, shown
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError

LARGEST_JSON = 256 * 2**20
"""Bytes. The tokenizer.json of every published checkpoint has 11 MiB."""
DOWNLOAD_AGAIN = "Download or export the checkpoint again."
_LFS_POINTER = b"version https://git-lfs"
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def exists(name: str, file: Path) -> bool:
    """Return whether a path is a regular file that can be read (True) or nothing at all (False).

    Args:
        name: the checkpoint, for messages.
        file: the path.

    Raises:
        CheckpointNotFoundError: it is a symbolic link to nothing, or this user may not read it.
        UnsupportedCheckpointError: it is a folder, a FIFO, a device or a git-lfs pointer.
    """
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        if is_link(file) or getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTDIR):
            refuse_unreadable(name, file, error)
        return False
    if not stat.S_ISREG(mode):
        kind = next((kind for matches, kind in _KINDS if matches(mode)), "a special file")
        raise UnsupportedCheckpointError(f"{shown(file.name)} of {shown(name)} is {kind}, not a file. {DOWNLOAD_AGAIN}")
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_LFS_POINTER))
    except OSError as error:
        refuse_unreadable(name, file, error)
    if start == _LFS_POINTER:
        raise UnsupportedCheckpointError(
            f"{shown(file.name)} of {shown(name)} is a git-lfs pointer, not the file itself. Download the checkpoint "
            f"with `hf download`, or run `git lfs pull` in {shown(file.parent)}."
        )
    return True


def read_json(name: str, file: Path) -> Any:
    """Read a JSON file for which `exists` returned True.

    Raises:
        CheckpointNotFoundError: it cannot be read.
        UnsupportedCheckpointError: it is not valid JSON, or larger than `LARGEST_JSON`.
    """
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise UnsupportedCheckpointError(
                f"The {file.name} of {shown(name)} has {file.stat().st_size:,} bytes, and no checkpoint needs more "
                f"than {LARGEST_JSON:,}. {DOWNLOAD_AGAIN}"
            )
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        refuse_unreadable(name, file, error)
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpointError(
            f"The {file.name} of {shown(name)} is not valid JSON: {one_line(error)}. {DOWNLOAD_AGAIN}"
        ) from error


def read_json_object(name: str, file: Path, remedy: str = DOWNLOAD_AGAIN) -> dict[str, Any]:
    """Read a JSON file that must hold an object; see `read_json`.

    Args:
        name: the checkpoint, for messages.
        file: the path.
        remedy: the end of the message if the file holds something else.
    """
    found = read_json(name, file)
    if not isinstance(found, dict):
        raise UnsupportedCheckpointError(f"The {file.name} of {shown(name)} is not a JSON object. {remedy}")
    return found


def refuse_unreadable(name: str, path: Path, error: Exception) -> NoReturn:
    """Explain why a file or folder cannot be read.

    Args:
        name: the checkpoint.
        path: a file or folder that belongs to it.
        error: the error of the operating system.

    Raises:
        CheckpointNotFoundError: always.
    """
    start = f"{shown(path.name)} of {shown(name)}"
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        raise CheckpointNotFoundError(
            f"{start} is a symbolic link that leads back to itself. {DOWNLOAD_AGAIN}"
        ) from error
    if number in (errno.EACCES, errno.EPERM):
        raise CheckpointNotFoundError(
            f"{start} cannot be read: Permission denied. {_describe_denial(path)} Check its permissions, run as a user "
            "who may read it, or use another cache folder (cache_dir, or HF_HOME)."
        ) from error
    if number == errno.ENOENT and is_link(path):
        raise CheckpointNotFoundError(
            f"{start} is a symbolic link to {shown(path.readlink())}, which does not exist: the download was not "
            f"finished, or the file was deleted. {DOWNLOAD_AGAIN}"
        ) from error
    reason = getattr(error, "strerror", None) or one_line(error)
    raise CheckpointNotFoundError(
        f"{start} cannot be read: {reason}. Check the permissions of {shown(path)}."
    ) from error


def is_link(path: Path) -> bool:
    """Return whether a path is a symbolic link, even a broken one. `Path.is_symlink` raises without permission."""
    return os.path.islink(path)  # noqa: PTH114


def _describe_denial(path: Path) -> str:
    """Name the first folder on the way to `path`, or the file itself, that this user may not read."""
    target = Path(os.path.realpath(path))
    for step in (*reversed(target.parents), target):
        wanted = os.X_OK if step != target else os.R_OK
        if not os.access(step, wanted, effective_ids=os.access in os.supports_effective_ids):
            return f"User {_user()} may not read {shown(step)}{_owner(step)}."
    return f"User {_user()} may not read {shown(target)}."


def _user() -> str:
    try:
        return repr(getpass.getuser())
    except (OSError, KeyError, ImportError):  # a container may run under a user ID without a name
        return str(os.geteuid()) if hasattr(os, "geteuid") else "?"


def _owner(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    try:
        owner = repr(path.owner())
    except (OSError, KeyError, NotImplementedError):
        owner = str(status.st_uid)
    return f", which belongs to {owner} and has mode {stat.S_IMODE(status.st_mode):o}"
