"""Tables of the studies that run from a checkout."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_rerank_plugins._records.record import Grid, Record, show_size, show_spread


def grids_of(record: Record) -> list[Grid]:
    """Return the tables of a record."""
    return TABLES[record["study"]](record["results"])


def _savings(results: Record) -> list[Grid]:
    rows = [
        (
            saving["name"],
            saving["workload"],
            show_spread(saving["seconds"], "{:.3g}"),
            show_spread(saving["seconds_without"], "{:.3g}"),
            f"{1 - 1 / saving['ratio']['median']:.1%}",
            f"{saving['largest_difference']:.0e}",
        )
        for saving in results["savings"]
    ]
    released = show_size(results["released_bytes"])
    rows.append(("output matrix released once its two rows are taken", "", "", "", released, "0"))
    return [Grid("Exact savings", ("saving", "workload", "seconds", "without it", "saved", "difference"), tuple(rows))]


def _choices(results: Record) -> list[Grid]:
    rows = tuple(
        (
            one["question"],
            one["name"] + (" (ours)" if one["chosen"] else ""),
            f"{one['seconds']['median']:.3g}",
            show_spread(one["ratio"], "{:.2f}"),
            show_size(one["peak_growth"]),
        )
        for one in results["alternatives"]
    )
    header = ("question", "option", "seconds", "times ours", "peak")
    return [Grid("Design choices and their alternatives", header, rows)]


def _profile(results: Record) -> list[Grid]:
    rows = tuple(
        (one["workload"], one["operator"], f"{one['share']:.1%}", f"{one['calls']:,}") for one in results["shares"]
    )
    return [Grid("Time per operator, without nested operators", ("workload", "operator", "share", "calls"), rows)]


def _together(results: Record) -> list[Grid]:
    rows = tuple(
        (
            name,
            show_spread(results[key]["documents_per_second"], "{:.3g}"),
            f"{results[key]['p50'] * 1000:,.0f} ms",
            f"{results[key]['p95'] * 1000:,.0f} ms",
        )
        for name, key in (
            ("one after the other", "one_by_one"),
            ("all at once", "at_once"),
            ("one caller alone", "lone"),
        )
    )
    title = (
        f"{results['callers']} callers with {results['documents_each']} short documents each; throughput of concurrent "
        f"calls {show_spread(results['throughput_ratio'], '{:.2f}')} times that of sequential calls, largest "
        f"difference of log-odds {results['largest_difference']:.0e}"
    )
    return [Grid(title, ("calls", "documents/s", "p50", "p95"), rows)]


def _quantization(results: Record) -> list[Grid]:
    title = (
        f"{results['label']}, {results['dtype']} on {results['device']}: {results['pairs']} pairs of "
        f"{results['queries']} queries, reference log-odds spread {results['spread']:.2f}"
    )
    header = ("mode", "weights", "predicted", "speed", "rank correlation (lowest)", "largest difference", "mean")
    return [Grid(title, header, tuple(map(_quantization_cells, results["modes"])))]


def _quantization_cells(mode: Record) -> tuple[str, ...]:
    name = mode["mode"] or "unquantized"
    if mode["refused"]:
        return (name, "refused: " + mode["refused"], "", "", "", "", "")
    faithful = mode["faithfulness"]
    correlation = faithful["rank_correlation"]
    return (
        f"{name} ({mode['reason']})" if mode["reason"] else name,
        show_size(mode["weight_bytes"]),
        show_size(mode["predicted_bytes"]),
        show_spread(mode["speed"], "{:.2f}") if mode["speed"] else "1",
        "" if correlation is None else f"{correlation:.4f} ({faithful['lowest_rank_correlation']:.4f})",
        f"{faithful['largest_difference']:.2g}",
        f"{faithful['mean_difference']:.2g}",
    )


def _windows(results: Record) -> list[Grid]:
    positions = [found["place"] for found in results["rows"][0]["found"]]
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
    header = ("long documents", "max_length", *positions, "tokens not read", "tokens run")
    return [Grid(title, header, rows)]


TABLES: dict[str, Callable[[Record], list[Grid]]] = {
    "savings": _savings,
    "choices": _choices,
    "profile": _profile,
    "together": _together,
    "quantization": _quantization,
    "windows": _windows,
}
