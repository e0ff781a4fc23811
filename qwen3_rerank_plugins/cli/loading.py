"""A reranker, loaded while a person sees that something happens, and a log has a line where that takes long."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
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
    """Fetch and load the model; a bar shows a first download, a spinner everything else.

    Raises:
        CheckpointNotFoundError: with a hint at what works without any download.
    """
    if reranker.remote is not None:
        with screen.waiting(f"Connecting to {reranker.remote.url}"):
            reranker.warmup()
        return
    settings = reranker.settings
    warn_of_size(settings, screen)
    with _hint_at_the_demo(settings):
        what = _prepare(settings, screen)
        with screen.waiting(f"{what} {settings.model}"), quiet_libraries():
            reranker.warmup()


def fetch(settings: EngineSettings, screen: Screen) -> Checkpoint:
    """The checkpoint, without loading it: for what its config.json decides beforehand; bars and errors as `load`."""
    warn_of_size(settings, screen)
    with _hint_at_the_demo(settings):
        if screen.watched and not _is_here(settings):
            return _download(settings, screen)
        with screen.waiting(f"Fetching {settings.model}"), quiet_libraries():
            return find_checkpoint(settings)


def warn_of_size(settings: EngineSettings, screen: Screen) -> None:
    """Say before anything is downloaded that a published model is too large for this machine."""
    if warning := warning_about_size(settings):
        screen.note(warning)


def _prepare(settings: EngineSettings, screen: Screen) -> str:
    """Download what is not here yet under a bar, if somebody watches; what is left to do, in words."""
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
    """No bars and warnings of transformers and the hub: they have no place in a pipe, nor inside a spinner."""
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


def api_key() -> str | None:
    """A server's key; as an option it would stand in the list of processes."""
    return os.environ.get("QWEN3_RERANK_API_KEY") or None


def describe(reranker: Qwen3Reranker) -> str:
    """Which model ranks, where and how, in a few words."""
    if reranker.remote is not None:
        return f"{reranker.settings.model} at {reranker.remote.url}, template by the {reranker.remote.template}"
    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

    placement = choose_placement(reranker.settings)
    kernel = f"{placement.attention.name} attention"
    settings = reranker.settings
    where = ", ".join(settings.devices) if settings.devices else str(placement.device)
    if settings.device_map:
        where += f" (device_map={settings.device_map!r})"
    return f"{settings.model} on {where}, {dtype_name(placement.dtype)}, {kernel}"
