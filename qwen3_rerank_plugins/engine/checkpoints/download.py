"""Download a snapshot from the hub on a separate thread, and give up on a hub that stops answering.

A download may take as long as it likes while bytes arrive.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.settings import EngineSettings

OnBytes = Callable[[int, int], None]
"""Called with the bytes of a download that have arrived, and with their total as far as it is known."""
LONGEST_SILENCE = 120.0
"""Seconds without a byte after which a download is given up. The hub's client retries more often than that."""
FILE_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
"""The only files that are ever fetched."""
_on_bytes: contextvars.ContextVar[OnBytes | None] = contextvars.ContextVar("on_bytes", default=None)


class HubSilentError(OSError):
    """The hub did not answer in time, or a download stopped."""


@contextlib.contextmanager
def watching_downloads(on_bytes: OnBytes) -> Iterator[None]:
    """Report the progress of downloads that the calling thread starts."""
    token = _on_bytes.set(on_bytes)
    try:
        yield
    finally:
        _on_bytes.reset(token)


def snapshot(settings: EngineSettings, **options: Any) -> Path:
    """Return the snapshot folder from the hub's client; `options` are those of `snapshot_download`."""
    from huggingface_hub import snapshot_download

    handled = sys.exception()  # an error that the caller is handling, if any
    try:
        return Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                cache_dir=settings.cache_dir,
                token=settings.token,
                allow_patterns=FILE_PATTERNS,
                **options,
            )
        )
    except BaseException as error:
        _clear_local_variables(error, handled)
        raise


class Download:
    """One download on a separate thread, because no HTTP client is sure to give up in time.

    Args:
        settings: which snapshot to download.
        timeout: seconds that the hub has to say which files there are.

    Attributes:
        answered: whether the hub has said so.
    """

    def __init__(self, settings: EngineSettings, timeout: float) -> None:
        self.answered = False
        self._settings = settings
        self._timeout = timeout
        self._abandoned = False
        self._progress = 0
        self._ended = threading.Event()
        self._folder = Path()
        self._error: BaseException | None = None
        self._on_bytes = _on_bytes.get()

    def wait(self) -> Path:
        """Download, and return the folder once all files are there.

        Raises:
            HubSilentError: the hub does not answer, or no more bytes arrive.
            Exception: any error of the hub's client.
        """
        start_thread(threading.Thread(target=self._run, name="qwen3-rerank-download", daemon=True))
        try:
            self._watch()
        finally:
            self._abandoned = not self._ended.is_set()  # if the hub answers later, nothing is fetched
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._folder

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(self._timeout / 100):
            if not self.answered and time.monotonic() - started > self._timeout:
                raise HubSilentError(f"no answer within {self._timeout:g} seconds")
            if self.answered:
                self._watch_bytes()

    def _watch_bytes(self) -> None:
        """Wait for the end. Progress shows in the client's progress bars, or in the size of its files."""
        seen, since = -1, time.monotonic()
        while not self._ended.wait(1.0):
            now = self._progress + self._bytes_on_disk()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > LONGEST_SILENCE:
                raise HubSilentError(f"no byte has arrived for {LONGEST_SILENCE:g} seconds")

    def _bytes_on_disk(self) -> int:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        cache = Path(self._settings.cache_dir or constants.HF_HUB_CACHE).expanduser()
        blobs = cache / repo_folder_name(repo_id=self._settings.model, repo_type="model") / "blobs"
        try:
            return sum(file.stat().st_size for file in blobs.iterdir())
        except OSError:  # files are renamed meanwhile
            return 0

    def _run(self) -> None:
        try:
            self._folder = snapshot(self._settings, etag_timeout=self._timeout, tqdm_class=self._bar())
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def _bar(self) -> type[Any]:
        """Return a progress bar class for the client. It draws nothing; the first bar shows that the hub answered."""
        from tqdm.std import tqdm

        download = self

        class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
            def __init__(self, *arguments: Any, **options: Any) -> None:
                download._advance()
                self.unit_is_bytes = options.get("unit") == "B"
                self.arrived = 0
                options.pop("name", None)  # an option of the hub's client, unknown to tqdm
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                download._advance()
                if self.unit_is_bytes:
                    self.arrived += int(n or 0)
                    if download._on_bytes is not None:
                        download._on_bytes(self.arrived, int(self.total or 0))

        Bar.set_lock(threading.RLock())  # tqdm's default lock starts a process, which fails if stderr is unusable
        return Bar

    def _advance(self) -> None:
        self.answered = True
        self._progress += 1
        if self._abandoned:
            raise HubSilentError("the download was given up")


def _clear_local_variables(error: BaseException | None, handled: BaseException | None) -> None:
    """Clear the frames of failed calls: the hub's client keeps the token in some, and error reporters may print them.

    Frames of calls that still run keep their variables.
    """
    if error is None or error is handled:
        return
    traceback.clear_frames(error.__traceback__)
    for earlier in (error.__cause__, error.__context__):
        _clear_local_variables(earlier, handled)
