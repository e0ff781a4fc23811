"""The record of a speed study -> one picture: throughput by workload and peer.

Comes in: the JSON of a record. Goes out: a PNG.
Must not know: how anything was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise MissingExtraError("matplotlib", "bench") from error

_COLORS = {"ours": "#5b3fd6", "st": "#e08e45", "card-last": "#7fa7a3", "card": "#b9bdc4", "vllm": "#3f8fd6"}
_NAMES = {
    "ours": "qwen3-rerank-plugins",
    "st": "sentence-transformers",
    "card-last": "model card, last logits only",
    "card": "model card",
    "vllm": "vLLM",
}


def draw_speed(record: Mapping[str, Any], path: Path) -> None:
    """Documents a second relative to ours, one group a workload, the absolute figures beside the bars."""
    workloads = record["results"]["workloads"]
    peers = [row["peer"] for row in workloads[0]["rows"]]
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(peers) * len(workloads)), layout="constrained")
    axes = figure.add_subplot()
    thickness = 0.8 / len(peers)
    for order, peer in enumerate(peers):
        rows = [next(row for row in workload["rows"] if row["peer"] == peer) for workload in workloads]
        places = [group + order * thickness for group in range(len(workloads))]
        shares = [1 / row["ratio"]["median"] for row in rows]
        bars = axes.barh(
            places, shares, thickness * 0.92, label=_NAMES.get(peer, peer), color=_COLORS.get(peer, "#888888")
        )
        labels = [
            f"{row['documents_per_second']:.3g}/s"
            + ("" if peer == "ours" else f"   {row['ratio']['median']:.2f}x slower")
            for row in rows
        ]
        axes.bar_label(bars, labels, padding=4, fontsize=8, color="#444444")
    axes.set_yticks(
        [group + 0.4 - thickness / 2 for group in range(len(workloads))],
        [
            f"{w['name']}\n{w['queries']} x {w['documents'] // w['queries']}, ~{w['mean_tokens']:,.0f} tokens"
            for w in workloads
        ],
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.28)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    around = record["circumstances"]
    axes.set_title(
        f"Documents a second: {around['subject']}\n{around['dtype']} on {around['device']}",
        loc="left",
        fontsize=10,
    )
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
