"""Read the limits that Linux control groups set on this process's CPUs and memory, as in a container.

psutil and torch see the whole machine, even from inside a container.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MEMBERSHIP = Path("/proc/self/cgroup")
"""The file that lists the control groups of this process."""
MOUNT = Path("/sys/fs/cgroup")
"""The folder that shows control groups as folders."""


def find_groups(controller: str, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Iterator[Path]:
    """Yield the folders that may hold a controller's limits: each group and its parents, for cgroup v1 and v2.

    Inside a container the path of a group is often the host's path, and the group itself is at the top of the mount.
    The top is among the folders. Without control groups, nothing is yielded.

    Args:
        controller: its name, such as "cpu" or "memory".
        membership: as `MEMBERSHIP`.
        mount: as `MOUNT`; v1 has one folder there for each controller.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:  # v2; beside v1 it has a folder for itself
            tops = mount, mount / "unified"
        elif controller in controllers.split(","):
            tops = mount / controllers, mount / controller
        else:
            continue
        for top in dict.fromkeys(tops):
            group = top / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


class _GroupFiles(NamedTuple):
    """Names of a group's files, and the key in memory.stat that counts cached file pages the kernel can drop."""

    limits: tuple[str, ...]
    usage: str
    droppable: str


_VERSIONS = (
    _GroupFiles(("memory.max", "memory.high"), "memory.current", "inactive_file"),
    _GroupFiles(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
)


def cgroup_memory(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float:
    """Return the bytes that control groups leave to this process; infinity without a limit or without groups."""
    groups = find_groups("memory", membership, mount)
    return min((_bytes_left(group, files) for group in groups for files in _VERSIONS), default=math.inf)


def _bytes_left(group: Path, files: _GroupFiles) -> float:
    """Limit minus usage. Droppable cached pages, such as a checkpoint that was just read, do not count as used."""
    allowed = min(_number(group / name) for name in files.limits)
    used = _number(group / files.usage)
    if math.inf in (allowed, used):
        return math.inf
    return max(0, allowed - used + _droppable(group / "memory.stat", files.droppable))


def _number(file: Path) -> float:
    """Read the one number of a file; infinity for "max" and for a missing file, as in the root group."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.inf


def _droppable(file: Path, name: str) -> int:
    try:
        stat = dict(line.split() for line in file.read_text(encoding="utf-8").splitlines())
        return int(stat.get(name, 0))
    except (OSError, ValueError):
        return 0
