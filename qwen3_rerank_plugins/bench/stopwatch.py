"""Time and memory of a call, and the comparison of several calls that take turns.

Comes in: functions. Goes out: seconds and bytes.
Must not know: what the functions do.

Turns, not blocks: a machine that slows down for a minute then slows everybody down alike, and ratios are formed inside
one turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_HIGH_WATER_MARK = Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One call.

    Attributes:
        seconds: wall clock, the device synchronised.
        peak_growth: bytes by which memory grew at most above where it stood; None where this system cannot tell.
        answer: what the call returned.
    """

    seconds: float
    peak_growth: int | None
    answer: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Median and range."""
        return cls(statistics.median(values), min(values), max(values))


def measure(call: Callable[[], Any], device: torch.device) -> Measured:
    """Run once, with the clock and the memory watched."""
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
    """Run every call once a round, the order reversed every other round.

    Args:
        calls: by name.
        rounds: how often each runs.
        device: what to synchronise and whose memory to watch.
        before: told the name and the round before each run, for a progress bar.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in calls}
    for turn in range(rounds):
        names = list(calls)
        for name in names if turn % 2 == 0 else reversed(names):
            before(name, turn)
            measured[name].append(measure(calls[name], device))
    return measured


def ratios(ours: list[Measured], theirs: list[Measured]) -> Spread:
    """How many times as long they took, turn by turn."""
    return Spread.of([their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True)])


@contextlib.contextmanager
def _watched_peak(device: torch.device) -> Iterator[Callable[[], int | None]]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    try:
        _HIGH_WATER_MARK.write_text("5", encoding="ascii")  # Linux: the peak starts again from what is resident now
    except OSError:
        yield lambda: None
        return
    before = resident_bytes("VmRSS")
    yield lambda: resident_bytes("VmHWM") - before


def resident_bytes(field: str = "VmRSS") -> int:
    """Resident memory of the process on Linux; with "VmHWM" its peak."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}.")


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
