"""Free memory, out-of-memory errors, and giving freed memory back to the system.

Torch is imported inside functions, so that this module stays cheap to import.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import psutil

from qwen3_rerank_plugins.engine.control_groups import cgroup_memory

if TYPE_CHECKING:
    import torch


def free_memory(device: torch.device) -> int:
    """Free bytes of the device; for CPU and MPS, of the machine or of what a container may have of it."""
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(min(psutil.virtual_memory().available, cgroup_memory()))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine has no memory left; not every allocator of torch says so by its type."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "alloc_failed")
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error).lower() for word in words)


def trim_malloc() -> None:
    """Return free pages of the C heap to the system; does nothing without glibc.

    glibc keeps memory that a thread has freed for other threads that share its arena. A model's batches run on a thread
    of their own, so without this call the process would keep the peak of a batch for every model it has closed. The
    call takes milliseconds: make it once, after a large release.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has no such function, and keeps nothing
    if trim is not None:
        trim(0)
