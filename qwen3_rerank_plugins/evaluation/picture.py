"""Draw the record of an evaluation: each set before and after reranking, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins._records.record import Record, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

require_matplotlib("eval")  # importing this module fails before an evaluation has taken its minutes

_BEFORE, _AFTER, _WORSE, _GRAY = "#9aa0ab", "#5b3fd6", "#c8553d", "#5f6570"
_OFFSET = 0.14


def draw(record: Record, path: Path) -> None:
    """Draw the first measure (nDCG@k) as a PNG: one row per set, from before to after, and the mean below a line."""
    from matplotlib.figure import Figure

    results = record["results"]
    rows = [(one["name"], f"{one['queries']} queries", one["measures"][0]) for one in results["sets"]]
    if len(rows) > 1:
        rows.append(("mean", f"of {counted(len(results['sets']), 'set')}", results["mean"][0]))
    figure = Figure(figsize=(8.6, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    ys = [y + (0.35 if name == "mean" else 0.0) for y, (name, _, _) in enumerate(rows)]
    if len(rows) > 1:
        axes.axhline(ys[-1] - 0.68, color="#d5d8de", linewidth=1)
    axes.set_yticks(ys, [name for name, _, _ in rows], fontsize=9)
    axes.set_ylim(ys[-1] + 0.6, -0.6)
    axes.set_xlim(_left_edge([measured for _, _, measured in rows]), 1.0)
    for y, (_, size, measured) in zip(ys, rows, strict=True):
        _draw_row(axes, y, measured)
        difference = measured["difference"]["value"]
        certain = measured["difference"]["low"] > 0 or measured["difference"]["high"] < 0
        axes.annotate(
            f"{difference:+.3f}" + ("" if certain else " ?"),
            (1.015, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=_WORSE if difference < 0 else _AFTER,
            annotation_clip=False,
        )
        axes.annotate(size, (1.115, y), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=_GRAY)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=_GRAY, labelsize=8)
    axes.grid(axis="x", color="#eceef2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    _draw_title(axes, record, rows[-1][2]["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_row(axes: Axes, y: float, measured: Record) -> None:
    before, after = measured["before"], measured["after"]
    color = _WORSE if after["value"] < before["value"] else _AFTER
    axes.plot([before["value"], after["value"]], [y, y], color=color, alpha=0.35, linewidth=2.2, zorder=2)
    for estimate, shade, at in ((before, _BEFORE, y - _OFFSET), (after, color, y + _OFFSET)):
        axes.plot([estimate["low"], estimate["high"]], [at, at], color=shade, alpha=0.55, linewidth=1.3, zorder=1)
    axes.scatter(before["value"], y, s=34, color="white", edgecolors=_BEFORE, linewidths=1.6, zorder=3)
    axes.scatter(after["value"], y, s=40, color=color, zorder=4)


def _left_edge(measured: Sequence[Record]) -> float:
    lowest = min(one[order]["low"] for one in measured for order in ("before", "after"))
    return max(0.0, int(lowest * 10) / 10)


def _draw_title(axes: Axes, record: Record, measure: str) -> None:
    title = f"{measure}, in the order of the set and reranked by {record['circumstances']['subject']}"
    axes.set_title(title, loc="left", fontsize=11, pad=26)
    axes.text(
        0,
        1.0,
        "○ before   ● after   thin lines: 95 % intervals over queries   ?: the difference's interval includes 0",
        transform=axes.transAxes,
        va="bottom",
        fontsize=8,
        color=_GRAY,
    )
