"""A file of a checkpoint -> its content, or what stands in its place and what to do about it.

Nothing is opened before it is known to be a regular file: a FIFO would block for ever, a device may have no end.
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
_LFS_POINTER = b"version https://git-lfs"
_AGAIN = "Download or export the checkpoint again."
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def exists(name: str, file: Path) -> bool:
    """Whether something stands at this path: a regular file, which may be read, or nothing at all.

    Args:
        name: of the checkpoint, for messages.
        file: the path.

    Raises:
        CheckpointNotFoundError: it is a symbolic link that leads nowhere, or this user may not read it.
        UnsupportedCheckpointError: it is a folder, a FIFO, a device or a pointer of git-lfs.
    """
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        if is_link(file) or getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTDIR):
            refuse_unreadable(name, file, error)
        return False
    if not stat.S_ISREG(mode):
        kind = next((what for matches, what in _KINDS if matches(mode)), "no regular file")
        raise UnsupportedCheckpointError(f"{shown(file.name)} of {shown(name)} is {kind}, not a file. {_AGAIN}")
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_LFS_POINTER))
    except OSError as error:
        refuse_unreadable(name, file, error)
    if start == _LFS_POINTER:
        raise UnsupportedCheckpointError(
            f"{shown(file.name)} of {shown(name)} is a pointer of git-lfs, not the file itself. Download the "
            f"checkpoint with `hf download`, or run `git lfs pull` in {shown(file.parent)}."
        )
    return True


def read_json(name: str, file: Path) -> Any:
    """The content of a JSON file that `exists`.

    Raises:
        CheckpointNotFoundError: it cannot be read.
        UnsupportedCheckpointError: it is not JSON, or far too large.
    """
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise UnsupportedCheckpointError(
                f"The {file.name} of {shown(name)} has {file.stat().st_size:,} bytes, and no checkpoint needs more "
                f"than {LARGEST_JSON:,}. {_AGAIN}"
            )
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        refuse_unreadable(name, file, error)
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpointError(
            f"The {file.name} of {shown(name)} is not valid JSON: {one_line(error)}. {_AGAIN}"
        ) from error


def refuse_unreadable(name: str, path: Path, error: Exception) -> NoReturn:
    """Say why a path of a checkpoint cannot be read.

    Args:
        name: of the checkpoint.
        path: a file or a folder of it.
        error: what the system said.

    Raises:
        CheckpointNotFoundError: always.
    """
    start = f"{shown(path.name)} of {shown(name)}"
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        raise CheckpointNotFoundError(f"{start} is a symbolic link that leads back to itself. {_AGAIN}") from error
    if number in (errno.EACCES, errno.EPERM):
        raise CheckpointNotFoundError(
            f"{start} cannot be read: Permission denied. {_closed_door(path)} Check who may read it, run as a user who "
            "may, or use a cache folder of your own (cache_dir, or HF_HOME)."
        ) from error
    if number == errno.ENOENT and is_link(path):
        raise CheckpointNotFoundError(
            f"{start} is a symbolic link to {shown(path.readlink())}, and nothing is there: the download was not "
            f"finished, or the file was deleted. {_AGAIN}"
        ) from error
    reason = getattr(error, "strerror", None) or one_line(error)
    raise CheckpointNotFoundError(f"{start} cannot be read: {reason}. Check who may read {shown(path)}.") from error


def is_link(path: Path) -> bool:
    """Whether it is a symbolic link, also to where nothing is; `Path.is_symlink` raises where nobody may look."""
    return os.path.islink(path)  # noqa: PTH114


def _closed_door(path: Path) -> str:
    """Which folder or file on the way to `path` this user may not pass, whose it is, and its mode."""
    target = Path(os.path.realpath(path))
    for step in (*reversed(target.parents), target):
        wanted = os.X_OK if step != target else os.R_OK
        if not os.access(step, wanted, effective_ids=os.access in os.supports_effective_ids):
            return f"User {_user()} may not read {shown(step)}{_owner(step)}."
    return f"User {_user()} may not read {shown(target)}."


def _user() -> str:
    try:
        return repr(getpass.getuser())
    except (OSError, KeyError):  # a container may run as a number without a name
        return str(os.geteuid())


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
