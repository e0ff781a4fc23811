"""Start Ray or join a cluster, and choose the number of actors and their resources."""

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
_CONNECT_TIMEOUT = 10
"""Seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """Identical actors.

    Attributes:
        actors: number of actors.
        gpus, cpus: resources of each actor; Ray limits torch to as many threads as the actor has CPUs.
    """

    actors: int
    gpus: float
    cpus: float


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Use a Ray that is already initialized, or join the cluster at `address` or RAY_ADDRESS, or start one locally.

    Raises:
        SettingsError: no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send nothing from this machine unless the user wants it
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray would log to stderr, between the lines of the job
    dashboard = False if address == LOCAL else None
    try:
        _check_port(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"No Ray cluster can be used at {address}: {error}. Check that one is running there, with: ray status"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_port(address: str) -> None:
    """Connect once, because Ray would wait for minutes if nothing listens on the port."""
    found = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if found:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_CONNECT_TIMEOUT).close()


def choose_pool(actors: int | None, gpus: float | None, cpus: float | None, *, partitions: int) -> Pool:
    """Fill in what the user left open: one actor per GPU, or without GPUs a single actor with all CPUs of a node.

    Args:
        actors: number of actors; reduced to the number of partitions.
        gpus: GPUs per actor.
        cpus: CPUs per actor.
        partitions: number of partitions to compute.

    Raises:
        SettingsError: no node has the resources that an actor needs.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    node_cpus = [node.get("CPU", 0.0) for node in nodes]
    node_gpus = [node.get("GPU", 0.0) for node in nodes]
    gpus = float(any(node_gpus)) if gpus is None else gpus
    if actors is None:
        actors = int(sum(found // gpus for found in node_gpus)) if gpus else 1
    actors = max(1, min(actors, partitions))
    if cpus is None:
        cpus = 1.0 if gpus else _equal_share(actors, node_cpus)
    if gpus > max(node_gpus) or cpus > max(node_cpus):
        raise SettingsError(
            f"An actor of {gpus:g} GPUs and {cpus:g} CPUs fits on no node of the cluster: the largest have "
            f"{max(node_gpus):g} GPUs and {max(node_cpus):g} CPUs."
        )
    return Pool(actors, gpus, cpus)


def _equal_share(actors: int, nodes: list[float]) -> float:
    """Return the largest whole number of CPUs per actor with which all actors fit on the nodes; 1 if none fits."""
    shares = range(int(max(nodes)), 1, -1)
    return float(next((share for share in shares if sum(cpus // share for cpus in nodes) >= actors), 1))
