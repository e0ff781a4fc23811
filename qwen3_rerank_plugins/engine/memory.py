"""Measure free memory, recognize out-of-memory errors and return freed memory to the system.

Torch is imported inside the functions, so importing this module is cheap.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import psutil

from qwen3_rerank_plugins.engine.control_groups import cgroup_memory

if TYPE_CHECKING:
    import torch


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device; for CPU and MPS, those of the machine or, if fewer, of the container."""
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(min(psutil.virtual_memory().available, cgroup_memory()))


def allocated_memory(devices: Iterable[torch.device]) -> int:
    """Return the bytes that torch has allocated on CUDA devices."""
    import torch

    return sum(torch.cuda.memory_allocated(device) for device in devices)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out. Some of torch's allocators say so only in the message."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "alloc_failed")
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error).lower() for word in words)


def trim_malloc() -> None:
    """Return free pages of the C heap to the system; does nothing without glibc.

    glibc keeps freed memory for other threads that share the arena. Each model's batches run on a separate thread, so
    without this call the process would keep a batch's peak memory for every model that was closed. The call takes
    milliseconds, so make it once, after a large release.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has no such function and keeps nothing
    if trim is not None:
        trim(0)
