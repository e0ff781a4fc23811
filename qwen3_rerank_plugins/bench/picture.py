"""The picture of a speed study: throughput by workload and implementation."""

from __future__ import annotations

from pathlib import Path

from qwen3_rerank_plugins._records.record import Record, require_matplotlib

require_matplotlib("bench")  # importing this module fails before a study has taken its minutes

_COLORS = {"ours": "#5b3fd6", "st": "#e08e45", "card-last": "#7fa7a3", "card": "#b9bdc4", "vllm": "#3f8fd6"}
_NAMES = {
    "ours": "qwen3-rerank-plugins",
    "st": "sentence-transformers",
    "card-last": "model card, last logits only",
    "card": "model card",
    "vllm": "vLLM",
}


def draw_speed(record: Record, path: Path) -> None:
    """Write a PNG of documents per second relative to ours, one group per workload, with absolute figures as labels."""
    from matplotlib.figure import Figure

    workloads = record["results"]["workloads"]
    names = [row["peer"] for row in workloads[0]["rows"]]
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(names) * len(workloads)), layout="constrained")
    axes = figure.add_subplot()
    thickness = 0.8 / len(names)
    for order, name in enumerate(names):
        rows = [next(row for row in workload["rows"] if row["peer"] == name) for workload in workloads]
        bars = axes.barh(
            [group + order * thickness for group in range(len(workloads))],
            [1 / row["ratio"]["median"] for row in rows],
            thickness * 0.92,
            label=_NAMES.get(name, name),
            color=_COLORS.get(name, "#888888"),
        )
        labels = [
            f"{row['documents_per_second']:.3g}/s"
            + ("" if name == "ours" else f"   {row['ratio']['median']:.2f}x slower")
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
        f"Documents per second: {around['subject']}\n{around['dtype']} on {around['device']}", loc="left", fontsize=10
    )
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
