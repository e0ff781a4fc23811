"""The control groups of this process on Linux, which limit the CPUs and the memory of a container.

psutil and torch see the whole machine, also from inside a container.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""The file that lists the groups of this process."""
MOUNT = Path("/sys/fs/cgroup")
"""Where the groups are shown as folders."""


def find_groups(controller: str, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Iterator[Path]:
    """Folders that may hold the limits of a controller, of each group and of all above it, in either version.

    Inside a container the path of a group is often the host's. The group then stands at the top of the mount, which is
    among the folders. None is yielded where there are no control groups.

    Args:
        controller: its name, such as "cpu" or "memory".
        membership: as `MEMBERSHIP`.
        mount: as `MOUNT`; version 1 has one folder there for each controller.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:  # version 2, which stands in a folder of its own beside version 1
            tops = mount, mount / "unified"
        elif controller in controllers.split(","):
            tops = mount / controllers, mount / controller
        else:
            continue
        for top in dict.fromkeys(tops):
            own = top / path.lstrip("/")
            yield from (group for group in (own, *own.parents) if group.is_relative_to(top))


@dataclasses.dataclass(frozen=True, slots=True)
class _GroupFiles:
    """Names of a group's files: its limits, what it uses, and the line of memory.stat that tells droppable pages."""

    limits: tuple[str, ...]
    usage: str
    droppable: str


_VERSION_2 = _GroupFiles(("memory.max", "memory.high"), "memory.current", "inactive_file")
_VERSION_1 = _GroupFiles(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def cgroup_memory(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float:
    """Bytes that the control groups of this process leave it; infinity where none sets a limit, or none are there."""
    groups = find_groups("memory", membership, mount)
    return min((_left_in(group, files) for group in groups for files in (_VERSION_2, _VERSION_1)), default=math.inf)


def _left_in(group: Path, files: _GroupFiles) -> float:
    """Limit minus usage. Cached files that can be dropped are no usage: a checkpoint that was just read is one."""
    allowed = min(_number(group / name) for name in files.limits)
    used = _number(group / files.usage)
    if math.inf in (allowed, used):
        return math.inf
    return max(0, allowed - used + _droppable(group / "memory.stat", files.droppable))


def _number(file: Path) -> float:
    """The one number of a file; infinity for "max", and where there is no such file, as in the topmost group."""
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
