"""How many tokens of one pass fit in the memory that is free.

Comes in: a `Shape`, a device. Goes out: tokens.
Must not know: requests.
"""

from __future__ import annotations

import bisect
import math
from pathlib import Path
from typing import Literal

import psutil
import torch

from qwen3_rerank_plugins.engine.shape import Shape
from qwen3_rerank_plugins.engine.weights import LoadedModel

LARGEST_AUTO_BUDGET = 16_384
"""Tokens. Matrix products are at full speed long before; more would only take memory."""
SMALLEST_AUTO_BUDGET = 512
_SHARE_OF_FREE_MEMORY = 0.5


def choose_budget(asked: int | Literal["auto"], loaded: LoadedModel, *, sharing: int = 1) -> int:
    """Unique tokens a pass may hold: what was asked, or what half of the free memory holds, within fixed limits.

    Args:
        asked: as of the settings.
        loaded: the model. Of one that is spread over several devices, the device with the least free memory counts.
        sharing: how many models run on the device, at the same time.
    """
    if asked != "auto":
        return asked
    shape, placement = Shape.from_config(loaded.causal_lm.config.to_dict()), loaded.placement
    free = min(map(free_memory, loaded.devices)) // sharing
    return auto_budget(shape, placement.dtype, placement.rows_at_once, free)


def auto_budget(shape: Shape, dtype: torch.dtype, rows_at_once: int | None, free: int) -> int:
    """The budget that half of `free` bytes allow, beside weights that are already there."""
    allowed = free * _SHARE_OF_FREE_MEMORY
    sizes = range(SMALLEST_AUTO_BUDGET, LARGEST_AUTO_BUDGET + 1)
    fitting = bisect.bisect_right(sizes, allowed, key=lambda tokens: shape.pass_bytes(tokens, dtype, rows_at_once))
    return sizes[max(0, fitting - 1)]


def free_memory(device: torch.device) -> int:
    """Free bytes of the device; for CPU and MPS, of the machine or of what a container may have of it."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(min(psutil.virtual_memory().available, cgroup_memory()))


def cgroup_memory(membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the control groups of this process leave it; infinity where none sets a limit, or none are there.

    psutil sees the whole machine's memory, also from inside a container, which is killed when it takes what it sees.
    """
    free = math.inf
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return free
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top, files = mount, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):  # version 1
            top = mount / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top):
                free = min(free, _left_in(group, *files))
    return free


def _left_in(group: Path, limit: str, usage: str, droppable: str) -> float:
    """Limit minus usage. Cached files that can be dropped are no usage: a checkpoint that was just read is one."""
    try:
        allowed = int((group / limit).read_text(encoding="utf-8"))
        used = int((group / usage).read_text(encoding="utf-8"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):  # the topmost group has no such files, and "max" is no number
        return math.inf
    return max(0, allowed - used + int(stat.get(droppable, 0)))
