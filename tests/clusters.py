"""A small Ray cluster on this machine, and the processes of its actors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import psutil

RAYS_OWN_WARNINGS = "ignore::DeprecationWarning:ray.data.context"
"""Ray Data warns of its own settings when its context is made."""


@contextlib.contextmanager
def small_cluster() -> Iterator[None]:
    """Two CPUs, little memory, no dashboard."""
    import ray

    with _environment(RAY_BACKEND_LOG_LEVEL="fatal"):
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def actors_of(process: psutil.Process, stage: str) -> list[psutil.Process]:
    """The actors of a stage that run below a process that started Ray."""
    return [child for child in process.children(recursive=True) if _title(child).startswith(f"ray::MapWorker({stage}")]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
