"""What the process holds when nothing runs: every engine closed, every caller gone, the garbage collected.

While many threads work, resident memory goes up and down by tens of MiB with what happens to run at the same time. At
rest nothing does, so that the smallest leak shows.

Goes out: `Rest`s.
Must not know: what the process has done.
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
class Rest:
    """Memory at rest.

    Attributes:
        resident: MiB.
        heap: MiB that the C library's heap has given out, to tensors, tokenizers and Python's larger objects; None
            where it cannot be asked.
        blocks: pieces of memory that Python's small objects stand in.
    """

    resident: float
    heap: float | None
    blocks: int


def come_to_rest() -> Rest:
    """Close everything, collect, look."""
    close_all()
    gc.collect()
    trim_malloc()
    return Rest(psutil.Process().memory_info().rss / MEBIBYTE, _heap_in_use(), sys.getallocatedblocks())


class _HeapInfo(ctypes.Structure):
    """The struct mallinfo2 of glibc 2.33 and later."""

    _fields_ = [  # as ctypes has it
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _heap_in_use() -> float | None:
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if ask is None:
        return None
    ask.restype = _HeapInfo
    info = ask()
    return float(info.uordblks + info.hblkhd) / MEBIBYTE
