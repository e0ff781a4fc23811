"""Tables of the studies of speed and memory."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_rerank_plugins._records.record import Grid, Record, show_size, show_spread
from qwen3_rerank_plugins._records.record import as_markdown as as_markdown  # noqa: PLC0414  # a documented path


def grids_of(record: Record) -> list[Grid]:
    """Return the tables of a record."""
    return TABLES[record["study"]](record["results"])


def _speed(results: Record) -> list[Grid]:
    rows, work, notes = [], [], []
    bounded = all("card_flops" in workload for workload in results["workloads"])  # not in earlier records
    for workload in results["workloads"]:
        tokens = workload["tokens"]
        work.append(
            (
                workload["name"],
                f"{workload['queries']} x {workload['documents'] // workload['queries']}",
                f"{workload['mean_tokens']:,.0f}",
                f"{tokens['naive']:,}",
                f"{tokens['padded']:,}",
                f"{tokens['unique']:,}",
                f"{tokens['passes']}",
                f"{workload['flops'] / 1e12:.2f}",
                *((f"{workload['card_flops'] / workload['flops']:.1f}",) if bounded else ()),
            )
        )
        rows += [(workload["name"], *_speed_cells(row)) for row in workload["rows"]]
        notes += [(f"{workload['name']}, {row['peer']}", row["note"]) for row in workload["rows"] if row["note"]]
    rate = results["gemm_flops_per_second"] / 1e12
    return [
        Grid(
            f"Median times; the implementations took turns; rounds: {_rounds(results)}",
            ("workload", "implementation", "seconds", "times ours", "docs/s", "GEMM", "diff", "peak"),
            tuple(rows),
        ),
        Grid("How the implementations ran", ("implementation", "settings"), tuple(notes)),
        Grid(
            f"Workloads, in tokens; measured GEMM rate {rate:.3g} TFLOP/s",
            ("workload", "queries", "mean", "naive", "padded", "unique", "batches", "TFLOP", *("card",) * bounded),
            tuple(work),
        ),
    ]


def _speed_cells(row: Record) -> tuple[str, ...]:
    return (
        row["peer"],
        f"{row['seconds']['median']:.3g}",
        show_spread(row["ratio"], "{:.2f}"),
        f"{row['documents_per_second']:.3g}",
        f"{row['share_of_gemm_rate']:.0%}",
        f"{row['largest_difference']:.0e}",
        show_size(row["peak_growth"]),
    )


def _rounds(results: Record) -> str:
    """How often each workload ran. Older records do not have it per workload."""
    if any("rounds" not in workload for workload in results["workloads"]):
        return f"{results['rounds']} (small: twelve times as many)"
    each = {workload["name"]: workload["rounds"] for workload in results["workloads"]}
    if len(set(each.values())) == 1:
        return str(next(iter(each.values())))
    return ", ".join(f"{name} {rounds}" for name, rounds in each.items())


def _memory(results: Record) -> list[Grid]:
    loadings = tuple(
        (one["stored"], show_size(one["weights"]), show_size(one["peak"]), f"{one['peak_ratio']:.2f}")
        for one in results["loadings"]
    )
    batches = tuple(
        (f"{one['tokens']:,}", f"{one['documents']}", show_size(one["growth"]), show_size(one["predicted"]))
        for one in results["passes"]
    )
    needed, predicted = show_size(results["needed"]), show_size(results["predicted"])
    title = (
        f"Batches: {results['bytes_per_token'] / 1024:.1f} KiB per token; weights and the largest batch: "
        f"needed {needed}, predicted {predicted} ({results['error']:+.0%})"
    )
    return [
        Grid("Loading, in a separate process", ("weights stored as", "loaded", "peak", "peak / loaded"), loadings),
        Grid(title, ("tokens", "documents", "growth", "predicted"), batches),
    ]


TABLES: dict[str, Callable[[Record], list[Grid]]] = {"speed": _speed, "memory": _memory}
