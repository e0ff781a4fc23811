"""Loading a reranker with bars and spinners on a terminal, and with a line every ten seconds in a log."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any

from qwen3_rerank_plugins.cli.memory_forecast import warning_about_size
from qwen3_rerank_plugins.cli.output import Screen
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.download import watching_downloads
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointError, CheckpointNotFoundError
from qwen3_rerank_plugins.reranker import Qwen3Reranker


def load(reranker: Qwen3Reranker, screen: Screen) -> None:
    """Download and load the model; a bar shows the download, a spinner the rest.

    Raises:
        CheckpointNotFoundError: its message names the demo model, which needs no download.
    """
    if reranker.remote is not None:
        with screen.waiting(f"Connecting to {reranker.remote.url}"):
            reranker.warmup()
        return
    settings = reranker.settings
    warn_of_size(settings, screen)
    with _hint_at_the_demo(settings):
        activity = _prepare(settings, screen)
        with screen.waiting(f"{activity} {settings.model}"), quiet_libraries():
            reranker.warmup()


def fetch(settings: EngineSettings, screen: Screen) -> Checkpoint:
    """Return the checkpoint without loading the model; bars and errors are those of `load`."""
    warn_of_size(settings, screen)
    with _hint_at_the_demo(settings):
        if screen.watched and not _is_here(settings):
            return _download(settings, screen)
        with screen.waiting(f"Fetching {settings.model}"), quiet_libraries():
            return find_checkpoint(settings)


def warn_of_size(settings: EngineSettings, screen: Screen) -> None:
    """Print a note if a published model is too large for this machine; call this before the download."""
    if warning := warning_about_size(settings):
        screen.note(warning)


def _prepare(settings: EngineSettings, screen: Screen) -> str:
    """Download a missing model under a bar, if there is a terminal. Return the name of the activity that remains."""
    if settings.local_files_only or _is_here(settings):
        return "Loading"
    if not screen.watched:
        return "Downloading"
    _download(settings, screen)
    return "Loading"


def _download(settings: EngineSettings, screen: Screen) -> Checkpoint:
    with screen.download(f"Downloading {settings.model}") as on_bytes, watching_downloads(on_bytes):
        return find_checkpoint(settings)


@contextlib.contextmanager
def _hint_at_the_demo(settings: EngineSettings) -> Iterator[None]:
    try:
        yield
    except CheckpointNotFoundError as error:
        if settings.model == DEMO:
            raise
        raise CheckpointNotFoundError(f"{error} To try things offline: --model {DEMO}.") from error


def _is_here(settings: EngineSettings) -> bool:
    try:
        find_checkpoint(dataclasses.replace(settings, local_files_only=True))
    except CheckpointError:
        return False
    return True


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Disable bars and warnings of transformers and the hub, because they would break pipes and spinners."""
    hub: Any = importlib.import_module("huggingface_hub.utils")
    transformers: Any = importlib.import_module("transformers.utils.logging")
    verbosities = [(library, library.get_verbosity()) for library in (hub.logging, transformers)]
    bars = not hub.are_progress_bars_disabled(), transformers.is_progress_bar_enabled()
    for library, _ in verbosities:
        library.set_verbosity_error()
    hub.disable_progress_bars()
    transformers.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in verbosities:
            library.set_verbosity(verbosity)
        if bars[0]:
            hub.enable_progress_bars()
        if bars[1]:
            transformers.enable_progress_bar()


def describe(reranker: Qwen3Reranker) -> str:
    """Return the model, device, dtype and attention kernel as a phrase."""
    if reranker.remote is not None:
        return f"{reranker.settings.model} at {reranker.remote.url}, template by the {reranker.remote.template}"
    from qwen3_rerank_plugins.engine.loading.placement import dtype_name, find_placement

    placement = find_placement(reranker.settings)
    kernel = f"{placement.attention.name} attention"
    settings = reranker.settings
    where = ", ".join(settings.devices) if settings.devices else str(placement.device)
    if settings.device_map:
        where += f" (device_map={settings.device_map!r})"
    return f"{settings.model} on {where}, {dtype_name(placement.dtype)}, {kernel}"
