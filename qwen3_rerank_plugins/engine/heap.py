"""Memory that this process has freed -> back to the system.

The C library of most Linux systems keeps what a thread has freed for the next threads that share its part of the heap,
of which there are eight a core. An engine's passes run on a thread of its own, so that a process would keep the peak of
a pass for many an engine that it has closed long ago.
Must not know: engines.
"""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> None:
    """Give whole free pages back. Milliseconds, so at the end of something large. Without glibc: nothing."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has no such function, and keeps nothing
    if trim is not None:
        trim(0)
