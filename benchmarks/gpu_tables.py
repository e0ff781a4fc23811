"""Tables of the records of one GPU, and of what was computed from them for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qwen3_rerank_plugins._records.record import Grid, Record, show_size


def _probe(results: Record) -> list[Grid]:
    eager, compiled, sdpa = results["auto"], results["compiled"], results["sdpa"]
    header = ("workload", "unique tokens", "eager", "GEMM", "compiled", "GEMM", "SDPA", "peak", "predicted")
    rows = tuple(
        (
            name,
            f"{one['tokens']:,}",
            f"{one['ms']:,.1f} ms",
            f"{one['share']:.0%}",
            f"{compiled[name]['ms']:,.1f} ms",
            f"{compiled[name]['share']:.0%}",
            f"{sdpa[name]['ms']:,.1f} ms" if name in sdpa else "",
            show_size(one["peak"]),
            show_size(one["predicted"]),
        )
        for name, one in eager.items()
    )
    title = (
        f"One batch; measured GEMM rate {results['gemm'] / 1e12:.3g} TFLOP/s; compiling took up to "
        f"{max(results['compile_s']):.0f} s"
    )
    kernels = Grid(
        "Time of the kernels of one batch, eager",
        ("workload", "matrix products", "attention", "everything else", "launches"),
        tuple((name, *_kernel_cells(profile)) for name, profile in results["profile"].items()),
    )
    return [Grid(title, header, rows), kernels]


def _kernel_cells(profile: Record) -> tuple[str, ...]:
    products, attention = (
        sum(milliseconds for kernel, milliseconds, _ in profile["rows"] if word in kernel)
        for word in ("nvjet", "flash_fwd")
    )
    rest = profile["kernels"] - products - attention
    return (*(f"{part:,.0f} ms" for part in (products, attention, rest)), f"{profile['launches']:,}")


def _check(results: Record) -> list[Grid]:
    """Make one table of the small shape, by layout, and one of the large shape, each with a column per dtype.

    A check of the large shape without a dtype in its name belongs to the dtype named last before it.
    """
    layouts, large, dtype = dict[str, dict[str, str]](), dict[str, dict[str, str]](), ""
    for check in results["checks"]:
        subject, _, quantity = check["name"].partition(": ")
        named, _, layout = subject.rpartition(", ")
        dtype = named or dtype
        if layout == "large":
            large.setdefault(quantity, {})[dtype] = f"{check['value']:.3g}"
        else:
            dtype, _, layout = subject.partition(", ")
            layouts.setdefault(layout, {})[f"{quantity}, {dtype}"] = f"{check['value']:.2g}"
    return [
        _by_column("A small shape: differences of log-odds by layout of the documents", "documents", layouts),
        _by_column("The shape of the 8B", "check", large),
    ]


def _by_column(title: str, first: str, cells: dict[str, dict[str, str]]) -> Grid:
    columns = tuple(next(iter(cells.values())))
    return Grid(title, (first, *columns), tuple((name, *(row[c] for c in columns)) for name, row in cells.items()))


def _sizing(results: Record) -> list[Grid]:
    fits = results["fits"]
    memory = tuple(dict.fromkeys(one["gigabytes"] for one in fits))
    rows = tuple(
        (
            checkpoint,
            mode or "16 bits",
            show_size(found[0]["weight_bytes"]),
            *("no" if one["tokens"] is None else f"{one['tokens']:,}" for one in found),
        )
        for checkpoint, mode in dict.fromkeys((one["checkpoint"], one["mode"]) for one in fits)
        for found in [[one for one in fits if (one["checkpoint"], one["mode"]) == (checkpoint, mode)]]
    )
    header = ("checkpoint", "weights as", "weights take", *(f"{size} GB" for size in memory))
    return [
        Grid("Computed: tokens per batch on a card with so much memory; “no” means it does not fit", header, rows),
        *_times(results),
        Grid(
            "Measured and computed on the H200, 8B, whole calls",
            ("workload", "documents", "tokens per document", "measured", "computed"),
            tuple(
                (
                    one["workload"],
                    f"{one['documents']}",
                    f"{one['mean_tokens']:,.0f}",
                    _seconds(one["measured"]),
                    _seconds(one["computed"]),
                )
                for one in results["comparison"]
            ),
        ),
        Grid(
            "Data-sheet rates in bfloat16 or float16, dense",
            ("card", "TFLOP/s", "source"),
            tuple((card["name"], f"{card['tflops']:g}", card["source"]) for card in results["cards"]),
        ),
    ]


def _times(results: Record) -> Iterator[Grid]:
    """Yield one table per checkpoint, the largest first."""
    columns = tuple(f"top {documents}, {tokens} tokens" for tokens in results["tokens"] for documents in results["top"])
    missing = ("does not fit", *[""] * (len(columns) - 1))
    for checkpoint in reversed(dict.fromkeys(one["checkpoint"] for one in results["times"])):
        rows = tuple(
            (one["card"], *(map(_seconds, one["seconds"]) if one["seconds"] else missing))
            for one in results["times"]
            if one["checkpoint"] == checkpoint
        )
        yield Grid(f"Computed, not measured: one rerank with {checkpoint} in 16 bits", ("card", *columns), rows)


def _seconds(seconds: float) -> str:
    """Return a time with two significant digits."""
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{float(f'{seconds:.2g}'):g} s"


TABLES: dict[str, Callable[[Record], list[Grid]]] = {"gpu-probe": _probe, "gpu-check": _check, "gpu-sizing": _sizing}
