"""A hub id -> the folder of its snapshot, or a clear word why there is none.

The hub is given seconds to say what it has, then the cache stands in for it, with a warning. A download may take as
long as it likes while bytes arrive.


Comes in: `EngineSettings`. Goes out: a folder of the hub's cache. Only safetensors, JSON and text files are ever
fetched.
Must not know: what is in the folder.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins._printable import logger, shown
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, ThreadStartError

OnBytes = Callable[[int, int], None]
"""Told how many bytes of a download have arrived, and how many there are, as far as that is known."""
LONGEST_SILENCE = 120.0
"""Seconds without a byte after which a download is given up; the hub's own client tries again more often."""
_watcher: contextvars.ContextVar[OnBytes | None] = contextvars.ContextVar("watcher of downloads", default=None)
_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]


def fetch_snapshot(settings: EngineSettings, ids: str) -> Path:
    """The snapshot in the cache, brought up to date where the settings and the network allow it.

    Args:
        settings: which one, and how.
        ids: the family's own, for messages.

    Raises:
        CheckpointNotFoundError: not in the cache, not on the hub, or the hub is out of reach.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # the messages name what the command line and Python share: plain words and the hub's own variables
    asked = shown(settings.model) + (f" at revision {settings.revision!r}" if settings.revision else "")
    try:
        return _fetch(settings)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{asked} is neither a folder on this machine nor a hub id of the form owner/name. Check the spelling, or "
            f"take {ids}."
        ) from None
    except HubSilentError as error:
        raise CheckpointNotFoundError(
            f"{asked} is not in the cache and the hub does not answer: {error} (HF_HUB_ETAG_TIMEOUT is how many "
            "seconds it has to answer). Check the network, or pass a local folder."
        ) from None
    except LocalEntryNotFoundError as error:
        offline = settings.local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {
            "1",
            "ON",
            "YES",
            "TRUE",
        }
        reason = (
            "is not in the cache, and fetching is switched off (by local files only, or by HF_HUB_OFFLINE). Allow the "
            "network once, or name a cache folder that has it, or pass a local folder."
            if offline
            else "is not in the cache and the hub cannot be reached. Check the network, or pass a local folder; "
            "once it is cached, HF_HUB_OFFLINE=1 loads it without the network."
        )
        raise CheckpointNotFoundError(f"{asked} {reason}") from error
    except GatedRepoError as error:
        raise CheckpointNotFoundError(
            f"{asked} is gated. Accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointNotFoundError(
            f"{asked} is not on the hub (or is private: log in with `hf auth login` or set HF_TOKEN). Check the "
            f"spelling, or take {ids}."
        ) from error
    except ThreadStartError:
        raise
    except Exception as error:  # the hub's own, those of its HTTP client, which differs by version, and the disk's
        raise CheckpointNotFoundError(
            f"{asked} could not be fetched from the hub: {error}. Try again, or pass a local folder."
        ) from error


class HubSilentError(OSError):
    """The hub accepted the question and did not answer in time, or a download stood still."""


@contextlib.contextmanager
def watching_downloads(on_bytes: OnBytes) -> Iterator[None]:
    """Have downloads that this thread starts report what arrives."""
    token = _watcher.set(on_bytes)
    try:
        yield
    finally:
        _watcher.reset(token)


def _fetch(settings: EngineSettings) -> Path:
    from huggingface_hub import constants

    if settings.local_files_only or constants.HF_HUB_OFFLINE:
        return _snapshot(settings, local_files_only=True)
    cached = _cached(settings)
    if cached and settings.revision == cached.name and _is_whole(cached):
        return cached  # a commit never changes, so there is nothing to ask
    download = _Download(settings, float(constants.HF_HUB_ETAG_TIMEOUT))
    try:
        folder = download.wait()
    except Exception as error:
        if cached is None or not _is_about_the_way(error):
            raise
        folder, reason = cached, f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        reason = "" if download.answered else "there was no usable answer"  # its client took the cache, without a word
    if reason:
        logger.warning(
            "the hub did not say whether %s has changed (%s): commit %s from the cache is used. HF_HUB_OFFLINE=1 does "
            "not ask, and HF_HUB_ETAG_TIMEOUT is how many seconds it may take.",
            settings.model,
            reason.rstrip("."),
            folder.name,
        )
    return folder


def _snapshot(settings: EngineSettings, **options: Any) -> Path:
    from huggingface_hub import snapshot_download

    handled = sys.exception()  # the caller's own, if any
    try:
        return Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                cache_dir=settings.cache_dir,
                token=settings.token,
                allow_patterns=_FETCHED,
                **options,
            )
        )
    except BaseException as error:
        _forget_local_variables(error, handled)
        raise


def _cached(settings: EngineSettings) -> Path | None:
    """What the cache has of it, if anything."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(settings, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def _is_whole(snapshot: Path) -> bool:
    """Whether nothing of a model, or of an adapter, is missing that an interrupted download would have brought."""
    names = {file.name for file in snapshot.iterdir()}
    for index in snapshot.glob("*.safetensors.index.json"):
        try:
            names_needed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        if not names_needed <= names:
            return False
    model = {"config.json", "tokenizer.json"} <= names or "adapter_config.json" in names
    return model and any(name.endswith(".safetensors") for name in names)


def _is_about_the_way(error: Exception) -> bool:
    """Whether the hub was not reached, or is out of order; what it refuses is no such thing."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, HfHubHTTPError):
        return status >= 500 or status in (408, 429)
    return isinstance(error, LocalEntryNotFoundError) or not type(error).__module__.startswith("huggingface_hub")


@dataclasses.dataclass(eq=False)
class _Download:
    """A snapshot on its way, on a thread of its own: no client can be relied on to give up in time.

    Attributes:
        settings: which one.
        patience: seconds that the hub has to say what files there are.
        answered: whether it has.
    """

    settings: EngineSettings
    patience: float
    answered: bool = False
    _abandoned: bool = False
    _progress: int = 0
    _ended: threading.Event = dataclasses.field(default_factory=threading.Event)
    _folder: Path | None = None
    _error: BaseException | None = None
    _on_bytes: OnBytes | None = None

    def wait(self) -> Path:
        """The folder, as soon as everything is there.

        Raises:
            HubSilentError: the hub does not answer, or nothing arrives any more.
            Exception: whatever its client raises.
        """
        self._on_bytes = _watcher.get()
        start_thread(threading.Thread(target=self._run, name="qwen3-rerank-download", daemon=True))
        try:
            self._watch()
        finally:
            self._abandoned = not self._ended.is_set()  # should the hub answer later, nothing is fetched for nobody
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        assert self._folder is not None
        return self._folder

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(self.patience / 100):
            if not self.answered and time.monotonic() - started > self.patience:
                raise HubSilentError(f"no answer within {self.patience:g} seconds")
            if self.answered:
                self._watch_bytes()

    def _watch_bytes(self) -> None:
        """Until the end; what arrives shows in the bars of the client, or in its files."""
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

        cache = Path(self.settings.cache_dir or constants.HF_HUB_CACHE).expanduser()
        blobs = cache / repo_folder_name(repo_id=self.settings.model, repo_type="model") / "blobs"
        total = 0
        with contextlib.suppress(OSError):  # files are renamed meanwhile
            total = sum(file.stat().st_size for file in blobs.iterdir())
        return total

    def _run(self) -> None:
        try:
            self._folder = _snapshot(self.settings, etag_timeout=self.patience, tqdm_class=self._bar())
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def _bar(self) -> type[Any]:
        """What the client takes for a bar: it draws nothing, and its first one shows that the hub has answered."""
        from tqdm.std import tqdm

        download = self

        class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
            def __init__(self, *arguments: Any, **options: Any) -> None:
                download._go_on()
                self.unit_is_bytes = options.get("unit") == "B"
                self.arrived = 0
                options.pop("name", None)  # the hub's own word
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                download._go_on()
                if self.unit_is_bytes:
                    self.arrived += int(n or 0)
                    download._report(self.arrived, int(self.total or 0))

        Bar.set_lock(threading.RLock())  # tqdm's own would start a process, which a bad stderr can keep from starting
        return Bar

    def _go_on(self) -> None:
        self.answered = True
        self._progress += 1
        if self._abandoned:
            raise HubSilentError("nobody waits for this any more")

    def _report(self, arrived: int, total: int) -> None:
        if self._on_bytes is not None:
            self._on_bytes(arrived, total)


def _forget_local_variables(error: BaseException | None, handled: BaseException | None) -> None:
    """Of the calls that failed: the hub's client keeps the token in some, and reporters of errors may print them."""
    if error is None or error is handled:
        return
    traceback.clear_frames(error.__traceback__)  # calls that still run, ours among them, keep theirs
    for earlier in (error.__cause__, error.__context__):
        _forget_local_variables(earlier, handled)
