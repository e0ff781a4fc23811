"""Register functions that run around a fork of the process."""

from __future__ import annotations

import os
from collections.abc import Callable


def at_fork(**functions: Callable[[], object]) -> None:
    """Register functions as `os.register_at_fork` does. Windows has no fork, so nothing is registered there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**functions)
