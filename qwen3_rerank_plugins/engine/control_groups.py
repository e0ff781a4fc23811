"""The control groups of this process on Linux, which limit the CPUs and the memory of a container.

psutil and torch see the whole machine, also from inside a container.
"""

from __future__ import annotations

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
