"""While a thread loads a model, nothing of what libraries would show of it: no bars, and their remarks in our log only.

Libraries draw bars on stderr also where nobody looks, and a stderr that cannot be written would fail the load. Only the
calling thread is concerned: bars and log lines of all others, and the settings of the process, stay as they are.
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
    """Not for two threads at once: hold the lock of loading."""
    with _without_bars(), _without_remarks():
        yield


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Bars that the calling thread makes are made disabled; every library's are tqdm's, and so are those of others."""
    own, make = threading.get_ident(), tqdm.__init__

    def make_disabled(bar: Any, *arguments: Any, **options: Any) -> None:
        if threading.get_ident() == own:
            options["disable"] = True
        make(bar, *arguments, **options)

    tqdm.__init__ = make_disabled
    try:
        yield
    finally:
        if tqdm.__init__ is make_disabled:  # and nobody else's, set meanwhile
            tqdm.__init__ = make


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    remarks = _Remarks(threading.get_ident())
    handlers = {handler for name in (None, *_LIBRARIES) for handler in logging.getLogger(name).handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler.addFilter(remarks)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(remarks)


class _Remarks(logging.Filter):
    """Keeps what libraries log in one thread from a handler; it stands in our own log instead, for debugging."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self._last: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that its handler shall not see."""
        if record.thread != self._thread or record.name.partition(".")[0] not in _LIBRARIES:
            return True
        if record is not self._last:  # several handlers see the same one
            self._last = record
            logger.debug("while loading, %s says: %s", record.name, record.getMessage())
        return False
