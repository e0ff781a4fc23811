"""Ray, started on this machine or joined elsewhere, and how many actors fit.

Comes in: an address, and what a user wants of actors. Goes out: `Pool`.
Must not know: what actors do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import socket
from collections.abc import Iterator

import ray

from qwen3_rerank_plugins.errors import SettingsError

LOCAL = "local"
_PATIENCE = 10
"""Seconds that a cluster's port may take to answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """Equal actors.

    Attributes:
        actors: how many.
        gpus, cpus: of each; Ray limits the threads of an actor's torch to its CPUs.
    """

    actors: int
    gpus: float
    cpus: float


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray in this process: what runs already, else what the address or RAY_ADDRESS names, else one of our own.

    Raises:
        SettingsError: nobody answers there.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves this machine unless somebody asked for it
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # to stderr, between our lines
    dashboard = False if address == LOCAL else None
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"No Ray cluster can be used at {address}: {error}. See there whether one runs, with: ray status"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself would wait for minutes where nobody listens."""
    place = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if place:
        socket.create_connection((place[1].strip("[]"), int(place[2])), timeout=_PATIENCE).close()


def choose_pool(actors: int | None, gpus: float | None, cpus: float | None, *, work: int) -> Pool:
    """What was asked for; else one GPU an actor and an actor a GPU, or a single one with all CPUs of a node.

    Args:
        actors: how many; no more than there are partitions.
        gpus: of each actor.
        cpus: of each actor.
        work: partitions.

    Raises:
        SettingsError: a number is impossible, or no node has what an actor needs.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    most_gpus = max(node.get("GPU", 0.0) for node in nodes)
    most_cpus = max(node.get("CPU", 0.0) for node in nodes)
    gpus = (1.0 if most_gpus else 0.0) if gpus is None else gpus
    if actors is None:
        actors = int(sum(node.get("GPU", 0.0) // gpus for node in nodes)) if gpus else 1
    actors = max(1, min(actors, work))
    if cpus is None:
        cpus = 1.0 if gpus else _equal_share(actors, [node.get("CPU", 0.0) for node in nodes])
    if gpus > most_gpus or cpus > most_cpus:
        raise SettingsError(
            f"An actor of {gpus:g} GPUs and {cpus:g} CPUs fits on no node of the cluster: the largest have "
            f"{most_gpus:g} GPUs and {most_cpus:g} CPUs."
        )
    return Pool(actors, gpus, cpus)


def _equal_share(actors: int, nodes: list[float]) -> float:
    """Most whole CPUs of which that many actors fit on the nodes; 1 if they do not."""
    shares = range(int(max(nodes)), 1, -1)
    return float(next((share for share in shares if sum(cpus // share for cpus in nodes) >= actors), 1))
