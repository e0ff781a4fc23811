"""Memory that this process has freed -> back to the system.

The C library of most Linux systems keeps what a thread has freed for the next threads that share its part of the heap,
of which there are eight a core. With many callers, and passes on a thread of their own, that is hundreds of megabytes
that nobody uses and nobody else gets.
Must not know: engines.
"""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> None:
    """Give whole free pages back. It takes up to some 20 milliseconds: not after every pass. Without glibc: nothing."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has no such function, and keeps nothing
    if trim is not None:
        trim(0)
