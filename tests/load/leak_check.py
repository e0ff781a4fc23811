"""Memory of the process when idle: all engines closed, all callers gone, the garbage collected.

While many threads work, resident memory varies by tens of MiB. When the process is idle, the smallest leak shows.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import sys

import psutil

from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.engine.memory import trim_malloc

MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class IdleMemory:
    """Memory of the idle process.

    Attributes:
        resident: resident memory in MiB.
        heap: MiB that are allocated on the C library's heap, for tensors, tokenizers and Python's larger objects; None
            if it is unknown.
        blocks: allocated memory blocks of Python's small objects.
    """

    resident: float
    heap: float | None
    blocks: int


def measure_idle_memory() -> IdleMemory:
    """Close all engines, collect garbage, and measure."""
    close_all()
    gc.collect()
    trim_malloc()
    return IdleMemory(psutil.Process().memory_info().rss / MEBIBYTE, _heap_in_use(), sys.getallocatedblocks())


class _HeapInfo(ctypes.Structure):
    """The struct mallinfo2 of glibc 2.33 and later."""

    _fields_ = [  # ctypes requires this name
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _heap_in_use() -> float | None:
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if mallinfo is None:
        return None
    mallinfo.restype = _HeapInfo
    info = mallinfo()
    return float(info.uordblks + info.hblkhd) / MEBIBYTE
