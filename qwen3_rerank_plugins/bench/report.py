"""A study's record -> tables, the same ones for the terminal and for the documentation.

Comes in: the JSON of a record. Goes out: `Grid`s, and how to print them.
Must not know: how anything was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table of words.

    Attributes:
        title: what it shows.
        header: one word a column; the first column is set to the left, the others to the right.
        rows: as wide as the header.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids_of(record: Record) -> list[Grid]:
    """The tables of a record, whichever study it is of."""
    return _STUDIES[record["study"]](record["results"])


def as_table(grid: Grid) -> Table:
    """For a terminal."""
    table = Table(title=Text(grid.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(grid.header):
        table.add_column(Text(name), justify="right" if position else "left")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table


def as_markdown(grid: Grid) -> str:
    """For a page."""
    ruler = "|".join(["---", *["---:"] * (len(grid.header) - 1)])
    lines = [grid.header, *grid.rows]
    printed = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([printed[0], f"|{ruler}|", *printed[1:]])


def describe(record: Record) -> str:
    """The circumstances in one line."""
    around = record["circumstances"]
    packages = ", ".join(f"{name} {version}" for name, version in around["packages"].items())
    commit = f"commit {around['commit']}" if around["commit"] else "no commit"
    return (
        f"{around['subject']}; {around['dtype']} on {around['device']}, {around['threads']} threads; "
        f"{around['measured']}, version {around['version']}, {commit}; {packages}"
    )


def _speed(results: Record) -> list[Grid]:
    rows, work, notes = [], [], []
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
            )
        )
        rows += [(workload["name"], *_speed_cells(row)) for row in workload["rows"]]
        notes += [(f"{workload['name']}, {row['peer']}", row["note"]) for row in workload["rows"] if row["note"]]
    rate = results["gemm_flops_per_second"] / 1e12
    return [
        Grid(
            f"Median times; the peers ran in turn; rounds: {_rounds(results)}",
            ("workload", "peer", "seconds", "times ours", "docs/s", "GEMM", "diff", "peak"),
            tuple(rows),
        ),
        Grid("How the peers ran", ("peer", "settings"), tuple(notes)),
        Grid(
            f"Workloads, in tokens; measured GEMM rate {rate:.3g} TFLOP/s",
            ("workload", "queries", "mean", "naive", "padded", "unique", "batches", "TFLOP"),
            tuple(work),
        ),
    ]


def _speed_cells(row: Record) -> tuple[str, ...]:
    return (
        row["peer"],
        f"{row['seconds']['median']:.3g}",
        _spread(row["ratio"], "{:.2f}"),
        f"{row['documents_per_second']:.3g}",
        f"{row['share_of_gemm_rate']:.0%}",
        f"{row['largest_difference']:.0e}",
        size(row["peak_growth"]),
    )


def _savings(results: Record) -> list[Grid]:
    rows = [
        (
            saving["name"],
            saving["workload"],
            _spread(saving["seconds"], "{:.3g}"),
            _spread(saving["seconds_without"], "{:.3g}"),
            f"{1 - 1 / saving['ratio']['median']:.1%}",
            f"{saving['largest_difference']:.0e}",
        )
        for saving in results["savings"]
    ]
    rows.append(
        ("output matrix released once its two rows are taken", "", "", "", size(results["released_bytes"]), "0")
    )
    return [Grid("Exact savings", ("saving", "workload", "seconds", "without it", "saved", "difference"), tuple(rows))]


def _choices(results: Record) -> list[Grid]:
    rows = tuple(
        (
            one["question"],
            one["name"] + (" (ours)" if one["chosen"] else ""),
            f"{one['seconds']['median']:.3g}",
            _spread(one["ratio"], "{:.2f}"),
            size(one["peak_growth"]),
        )
        for one in results["alternatives"]
    )
    return [
        Grid("Design choices and their alternatives", ("question", "option", "seconds", "times ours", "peak"), rows)
    ]


def _profile(results: Record) -> list[Grid]:
    rows = tuple(
        (one["workload"], one["operator"], f"{one['share']:.1%}", f"{one['calls']:,}") for one in results["shares"]
    )
    return [Grid("Time per operator, without nested operators", ("workload", "operator", "share", "calls"), rows)]


def _together(results: Record) -> list[Grid]:
    def row(name: str, manner: Record) -> tuple[str, ...]:
        return (
            name,
            _spread(manner["documents_per_second"], "{:.3g}"),
            f"{manner['p50'] * 1000:,.0f} ms",
            f"{manner['p95'] * 1000:,.0f} ms",
        )

    title = (
        f"{results['callers']} callers with {results['documents_each']} short documents each; throughput of concurrent "
        f"calls {_spread(results['throughput_ratio'], '{:.2f}')} times that of sequential calls, largest difference of "
        f"log-odds {results['largest_difference']:.0e}"
    )
    rows = (
        row("one after the other", results["one_by_one"]),
        row("all at once", results["at_once"]),
        row("one caller alone", results["lone"]),
    )
    return [Grid(title, ("calls", "documents/s", "p50", "p95"), rows)]


def _memory(results: Record) -> list[Grid]:
    loadings = tuple(
        (one["stored"], size(one["weights"]), size(one["peak"]), f"{one['peak_ratio']:.2f}")
        for one in results["loadings"]
    )
    passes = tuple(
        (f"{one['tokens']:,}", f"{one['documents']}", size(one["growth"]), size(one["predicted"]))
        for one in results["passes"]
    )
    per_token = f"{results['bytes_per_token'] / 1024:.1f} KiB per token"
    needed = f"needed {size(results['needed'])}, predicted {size(results['predicted'])} ({results['error']:+.0%})"
    return [
        Grid("Loading, in a separate process", ("weights stored as", "loaded", "peak", "peak / loaded"), loadings),
        Grid(
            f"Batches: {per_token}; weights and the largest batch: {needed}",
            ("tokens", "documents", "growth", "predicted"),
            passes,
        ),
    ]


def _quantization(results: Record) -> list[Grid]:
    rows = tuple(_quantization_cells(mode) for mode in results["modes"])
    title = (
        f"{results['label']}, {results['dtype']} on {results['device']}: {results['pairs']} pairs of "
        f"{results['queries']} queries, reference log-odds spread {results['spread']:.2f}"
    )
    header = ("mode", "weights", "predicted", "speed", "rank correlation (lowest)", "largest difference", "mean")
    return [Grid(title, header, rows)]


def _quantization_cells(mode: Record) -> tuple[str, ...]:
    name = mode["mode"] or "unquantized"
    if mode["refused"]:
        return (name, "refused: " + mode["refused"], "", "", "", "", "")
    faithful = mode["faithfulness"]
    correlation = faithful["rank_correlation"]
    return (
        f"{name} ({mode['reason']})" if mode["reason"] else name,
        size(mode["weight_bytes"]),
        size(mode["predicted_bytes"]),
        _spread(mode["speed"], "{:.2f}") if mode["speed"] else "1",
        "" if correlation is None else f"{correlation:.4f} ({faithful['lowest_rank_correlation']:.4f})",
        f"{faithful['largest_difference']:.2g}",
        f"{faithful['mean_difference']:.2g}",
    )


def _windows(results: Record) -> list[Grid]:
    places = [found["place"] for found in results["rows"][0]["found"]]
    rows = tuple(
        (
            row["long_documents"] if row["cut"] or row["long_documents"] != "truncate" else "whole",
            f"{row['max_length']:,}",
            *(f"{found['first']} of {found['questions']} ({found['reciprocal_rank']:.2f})" for found in row["found"]),
            f"{row['cut']:,}",
            f"{row['tokens']:,}",
        )
        for row in results["rows"]
    )
    title = (
        f"{results['texts']}: {results['questions']} questions, {results['documents']} documents; relevant document "
        "first (mean reciprocal rank), by position of the answer"
    )
    header = ("long documents", "max_length", *places, "tokens not read", "tokens run")
    return [Grid(title, header, rows)]


_STUDIES: dict[str, Callable[[Record], list[Grid]]] = {
    "speed": _speed,
    "savings": _savings,
    "choices": _choices,
    "profile": _profile,
    "together": _together,
    "memory": _memory,
    "quantization": _quantization,
    "windows": _windows,
}


def _spread(spread: Record, form: str) -> str:
    low, high = form.format(spread["lowest"]), form.format(spread["highest"])
    middle = form.format(spread["median"])
    return middle if low == high else f"{middle} ({low}-{high})"


def size(count: int | None) -> str:
    """Bytes for people; nothing where nothing is known."""
    if count is None:
        return ""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _rounds(results: Record) -> str:
    """How often each workload was run; older records do not say it of each."""
    if any("rounds" not in workload for workload in results["workloads"]):
        return f"{results['rounds']} (small: twelve times as many)"
    each = {workload["name"]: workload["rounds"] for workload in results["workloads"]}
    if len(set(each.values())) == 1:
        return str(next(iter(each.values())))
    return ", ".join(f"{name} {rounds}" for name, rounds in each.items())
