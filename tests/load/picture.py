"""The picture of a run: memory, threads, answers and faults over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRAY = "#5b3fd6", "#8d9199"
WARM, COOL = "#e08e45", "#3f8fd6"

Samples = Sequence[Mapping[str, Any]]


def draw_run(record: Mapping[str, Any], path: Path) -> None:
    """Write a PNG with four panels over one axis of minutes."""
    results = record["results"]
    samples = results["samples"]
    figure = Figure(figsize=(9, 8), layout="constrained")
    memory, counts, answers, faults = figure.subplots(4, 1, sharex=True)
    minutes = [sample["seconds"] / 60 for sample in samples]
    _draw_memory(memory, minutes, samples, results["trend"])
    _draw_counts(counts, minutes, samples)
    _draw_rate(answers, minutes, samples)
    _draw_faults(faults, minutes, samples)
    for axes in (memory, counts, answers, faults):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#eceef1")
        axes.set_axisbelow(True)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
    faults.set_xlabel("minutes")
    plan, around = results["plan"], record["circumstances"]
    figure.suptitle(
        f"{results['calls']:,} calls by {plan['threads']} threads and {plan['coroutines']} coroutines: "
        f"{results['lost']} lost, {results['wrong']} wrong\n"
        f"{around['subject']}, {around['dtype']} on {around['device']}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_memory(axes: Axes, minutes: Sequence[float], samples: Samples, trend: Mapping[str, Any] | None) -> None:
    resident = [sample["resident"] for sample in samples]
    axes.plot(minutes, resident, color=INK, linewidth=1.2)
    _title(axes, "resident memory, MiB")
    if trend is None:
        return
    first = len(samples) // 3
    judged = resident[first:]
    middle, slope = sum(judged) / len(judged), trend["resident_per_hour"] / 60
    center = sum(minutes[first:]) / len(judged)
    ends = (minutes[first], minutes[-1])
    axes.plot(ends, [middle + slope * (end - center) for end in ends], color=WARM, linewidth=1.6, linestyle="--")
    _title(axes, f"last two thirds: {trend['resident_per_hour']:+.0f} MiB an hour", color=WARM, right=True)


def _draw_counts(axes: Axes, minutes: Sequence[float], samples: Samples) -> None:
    axes.plot(minutes, [sample["waiting"] for sample in samples], color="#cfd3da", linewidth=0.9)
    axes.plot(minutes, [sample["threads"] for sample in samples], color=INK, linewidth=1.2)
    axes.plot(minutes, [sample["files"] for sample in samples], color=COOL, linewidth=1.2)
    _title(axes, "threads", color=INK)
    _title(axes, "open files", color=COOL, at=0.10)
    _title(axes, "waiting requests", color=GRAY, right=True)


def _draw_rate(axes: Axes, minutes: Sequence[float], samples: Samples) -> None:
    rates = [
        (after["answered"] - before["answered"]) / max(1e-9, after["seconds"] - before["seconds"])
        for before, after in pairwise(samples)
    ]
    axes.step(minutes[1:], rates, color=INK, linewidth=1.0, where="pre")
    _title(axes, "right answers a second")


def _draw_faults(axes: Axes, minutes: Sequence[float], samples: Samples) -> None:
    axes.plot(minutes, [sample["faults"] for sample in samples], color=WARM, linewidth=1.4)
    axes.plot(minutes, [sample["wrong"] for sample in samples], color="#c0392b", linewidth=1.4)
    _title(axes, "calls that ran into a fault, so far", color=WARM)
    _title(axes, "wrong answers or errors, so far", color="#c0392b", right=True)


def _title(axes: Axes, text: str, *, color: str = "#444444", right: bool = False, at: float = 0.0) -> None:
    """Write a name above the panel in the color of its line, where it covers nothing."""
    axes.text(
        1.0 if right else at,
        1.04,
        text,
        transform=axes.transAxes,
        ha="right" if right else "left",
        va="bottom",
        fontsize=9,
        color=color,
    )
