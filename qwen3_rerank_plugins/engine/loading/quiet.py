"""Silence libraries while a thread loads a model: no progress bars, and their log messages go to our debug log.

Libraries draw progress bars on stderr even without a terminal, and a stderr that cannot be written would make the load
fail. Only the calling thread is affected; other threads and the settings of the process stay unchanged.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from tqdm.std import tqdm

from qwen3_rerank_plugins._printable import logger

_LIBRARIES = ("transformers", "huggingface_hub", "accelerate", "sentence_transformers", "compressed_tensors", "peft")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence libraries on this thread. Two threads must not do it at once, so hold the lock of `loading_alone`."""
    with _without_bars(), _without_messages():
        yield


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Disable tqdm bars that the calling thread creates. All of these libraries use tqdm."""
    thread, init = threading.get_ident(), tqdm.__init__

    def init_disabled(bar: Any, *arguments: Any, **options: Any) -> None:
        if threading.get_ident() == thread:
            options["disable"] = True
        init(bar, *arguments, **options)

    tqdm.__init__ = init_disabled
    try:
        yield
    finally:
        if tqdm.__init__ is init_disabled:  # not replaced by other code meanwhile
            tqdm.__init__ = init


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    redirect = _Redirect(threading.get_ident())
    handlers = {handler for name in (None, *_LIBRARIES) for handler in logging.getLogger(name).handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler.addFilter(redirect)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redirect)


class _Redirect(logging.Filter):
    """Keeps log records of libraries on one thread from a handler, and writes them to our debug log instead."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self._last: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record to keep from the handler."""
        if record.thread != self._thread or record.name.partition(".")[0] not in _LIBRARIES:
            return True
        if record is not self._last:  # several handlers may get the same record
            self._last = record
            logger.debug("while loading, %s says: %s", record.name, record.getMessage())
        return False
