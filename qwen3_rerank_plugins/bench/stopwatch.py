"""Time and memory of a call, and the comparison of several calls that take turns.

Calls take turns because a machine that slows down for a minute then slows all of them down. Ratios are computed within
one turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_HIGH_WATER_MARK = Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One call.

    Attributes:
        seconds: wall time, with the device synchronized.
        peak_growth: peak memory during the call minus memory before it, in bytes; None if this system cannot tell.
        answer: the return value.
    """

    seconds: float
    peak_growth: int | None
    answer: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of the same quantity."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Return the median and the range."""
        return cls(statistics.median(values), min(values), max(values))


def measure(call: Callable[[], Any], device: torch.device) -> Measured:
    """Run a call once and measure its time and memory."""
    with _watched_peak(device) as peak_growth:
        _synchronize(device)
        started = time.perf_counter()
        answer = call()
        _synchronize(device)
        seconds = time.perf_counter() - started
    return Measured(seconds, peak_growth(), answer)


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device, before: Callable[[str, int], None]
) -> dict[str, list[Measured]]:
    """Run every call once per round; the order is reversed in every second round.

    Args:
        calls: the calls by name.
        rounds: runs of each call.
        device: the device to synchronize and to measure memory on.
        before: called with the name and the round, from 0, before each run.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in calls}
    for turn in range(rounds):
        names = list(calls)
        for name in names if turn % 2 == 0 else reversed(names):
            before(name, turn)
            measured[name].append(measure(calls[name], device))
    return measured


def ratios(ours: list[Measured], theirs: list[Measured]) -> Spread:
    """Return how many times as long theirs took, turn by turn."""
    return Spread.of([their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True)])


def largest_growth(runs: list[Measured]) -> int | None:
    """Return the largest peak growth of several runs, in bytes; None if it is not known."""
    return max((run.peak_growth for run in runs if run.peak_growth is not None), default=None)


def largest_difference(ours: Measured, theirs: Measured) -> float:
    """Return the largest absolute difference between two lists of log-odds."""
    pairs: Iterable[tuple[float, float]] = zip(ours.answer, theirs.answer, strict=True)
    return max(abs(a - b) for a, b in pairs)


@contextlib.contextmanager
def _watched_peak(device: torch.device) -> Iterator[Callable[[], int | None]]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    try:
        _HIGH_WATER_MARK.write_text("5", encoding="ascii")  # Linux: reset the peak to the current resident memory
    except OSError:
        yield lambda: None
        return
    before = resident_bytes("VmRSS")
    yield lambda: resident_bytes("VmHWM") - before


def resident_bytes(field: str = "VmRSS") -> int:
    """Return the resident memory of this process in bytes on Linux; the field "VmHWM" is its peak."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}.")


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
