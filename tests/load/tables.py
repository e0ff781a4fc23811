"""Tables of a load test or a soak, for the terminal and docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_rerank_plugins._records.record import Grid


def grids_of(record: Mapping[str, Any]) -> list[Grid]:
    """Return the tables of a record."""
    results = record["results"]
    grids = [_summary(results), _latencies(results)]
    if results["faults"]:
        grids.append(_faults(results))
    if results["failures"]:
        grids.append(Grid("Why it failed", ("failure",), tuple((failure,) for failure in results["failures"])))
    return grids


def _summary(results: Mapping[str, Any]) -> Grid:
    plan, trend = results["plan"], results["trend"]
    rows = [
        ("concurrent callers", f"{plan['threads']} threads and {plan['coroutines']} coroutines"),
        ("questions, each asked alone first", f"{plan['questions']:,} of 1 to 40 documents; {results['texts']}"),
        ("time", _duration(results["seconds"])),
        ("calls", f"{results['calls']:,}"),
        ("right answers", f"{results['answered']:,}, about {results['documents']:,} documents"),
        ("calls that ran into a fault", f"{sum(one['met'] for one in results['faults']):,}"),
        ("lost calls", f"{results['lost']}"),
        ("wrong answers or errors", f"{results['wrong']}"),
        ("largest difference from the serial run", f"{results['log_odds_off']:.1g} in log-odds"),
        ("allowed difference", f"{plan['tolerance']:g} in log-odds"),
        ("answers per second", f"{results['calls_per_second']:.3g}"),
        ("documents per second", f"{results['documents_per_second']:.3g}"),
        ("latency, p50 and p95", f"{results['p50']:.3g} s and {results['p95']:.3g} s"),
        ("most requests waiting", f"{results['most_waiting']} (callers can make {results['waiting_bound']})"),
        ("engines loaded, batches run", f"{results['engines']} and {results['passes']:,}"),
        ("engines or rerankers closed while in use", f"{results['closings']}"),
        ("peak resident memory", f"{results['peak_resident']:,.0f} MiB"),
    ]
    if trend:
        middle, last = trend["threads"]
        files = trend["files"]
        rows += [
            ("resident memory over the last two thirds", f"{trend['resident_per_hour']:+,.0f} MiB per hour"),
            ("threads, middle and last third", f"{middle:.0f} and {last:.0f}"),
            ("open files, middle and last third", f"{files[0]:.0f} and {files[1]:.0f}"),
        ]
    for name, words in (("heap", "heap in use at rest"), ("resident", "resident memory at rest")):
        before, after = (results[when][name] for when in ("rest_before", "rest_after"))
        if before is not None:
            rows.append((f"{words}, before and after", f"{before:,.1f} MiB and {after:,.1f} MiB"))
    return Grid("Concurrent callers", ("", "result"), tuple(rows))


def _latencies(results: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (one["door"], f"{one['answered']:,}", f"{one['p50']:.3g} s", f"{one['p95']:.3g} s") for one in results["doors"]
    )
    return Grid("Latency by interface, with all callers waiting", ("interface", "right answers", "p50", "p95"), rows)


def _faults(results: Mapping[str, Any]) -> Grid:
    rows = tuple((one["fault"], f"{one['met']:,}", f"{one['survived']:,}") for one in results["faults"])
    title = 'Faults; "survived" means the right outcome, and then a right answer to the same caller\'s next question'
    return Grid(title, ("fault", "affected calls", "survived"), rows)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
