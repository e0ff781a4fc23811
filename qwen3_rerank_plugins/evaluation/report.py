"""Turn the record of an evaluation, a calibration or a search into tables, for the terminal and for documentation."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins._records.record import Grid, Record


def grids_of(record: Record) -> list[Grid]:
    """Return the tables of a record."""
    return STUDIES[record["study"]](record["results"])


def _evaluation(results: Record) -> list[Grid]:
    first, *others = [measured["name"] for measured in results["mean"]]
    rows = [(one["name"], f"{one['queries']}", *_compared(one["measures"][0])) for one in results["sets"]]
    intervals = [(one["name"], _range(one), *_intervals(one["measures"][0])) for one in results["sets"]]
    other_rows = [(one["name"], *map(_before_after, one["measures"][1:])) for one in results["sets"]]
    if len(results["sets"]) > 1:
        mean = f"mean of {len(results['sets'])}"
        rows.append((mean, "", *_compared(results["mean"][0])))
        intervals.append((mean, "", *_intervals(results["mean"][0])))
        other_rows.append((mean, *map(_before_after, results["mean"][1:])))
    return [
        Grid(
            f"{first} in the order of the set, and reranked",
            ("set", "queries", "before", "after", "difference (95 %)"),
            tuple(rows),
        ),
        Grid("Its 95 % intervals", ("set", "candidates", "before", "after"), tuple(intervals)),
        Grid("The other measures, before → after", ("set", *others), tuple(other_rows)),
    ]


def remarks_of(record: Record) -> list[str]:
    """Return facts about an evaluation that its tables do not show."""
    results = record["results"]
    sets, k = results["sets"], results["k"]
    left_out, unjudged, cut = (sum(one[name] for one in sets) for name in ("left_out", "unjudged", "truncated_tokens"))
    small = sum(one["most"] <= k for one in sets)
    remarks = {
        f"recall@{k} is always 1 if no query has more than {k} candidates: {share(small, len(sets), 'set')}.": small,
        f"Queries without a relevant candidate, which were left out: {left_out:,}.": left_out,
        f"Unjudged candidates, which count as not relevant: {unjudged:,}.": unjudged,
        f"Tokens that did not fit and were not read: {cut:,}.": cut,
    }
    return [remark for remark, count in remarks.items() if count]


def _calibration(results: Record) -> list[Grid]:
    rows = [("kept all", f"{results['pairs']:,}", f"{results['relevant'] / results['pairs']:.3f}", "1.000")]
    if results["chosen"]:
        chosen, held_out = results["chosen"], results["held_out"]
        rows += [
            ("where it was chosen", f"{chosen['kept']:,}", f"{chosen['precision']:.3f}", f"{chosen['recall']:.3f}"),
            ("held out", "", _interval(held_out["precision"]), _interval(held_out["recall"])),
        ]
    title = (
        f"{results['goal']}: {counted(results['pairs'], 'pair')} of {counted(results['queries'], 'query')}, "
        f"{results['relevant']:,} relevant; AUC {_interval(results['auc'])}"
    )
    return [Grid(title, ("", "kept", "precision", "recall"), tuple(rows))]


def _search(results: Record) -> list[Grid]:
    title = f"{results['name']}: {counted(results['queries'], 'query')}, {counted(results['passages'], 'passage')}"
    header = ("stage", "hands on", f"nDCG@{results['k']} (95 %)", "gain on the one above (95 %)", "MRR", "found")
    return [Grid(title, header, tuple(map(_stage, results["stages"])))]


def _stage(stage: Record) -> tuple[str, ...]:
    figures = (f"{stage[name]['value']:.3f}" for name in ("reciprocal_rank", "found"))
    return stage["name"], f"{stage['hands_on']}", _interval(stage["ndcg"]), _change(stage["gain"]), *figures


STUDIES: dict[str, Callable[[Record], list[Grid]]] = {
    "evaluation": _evaluation,
    "calibration": _calibration,
    "search": _search,
}


def _compared(measured: Record) -> tuple[str, str, str]:
    return f"{measured['before']['value']:.3f}", f"{measured['after']['value']:.3f}", _change(measured["difference"])


def _change(estimate: Record | None) -> str:
    return f"{estimate['value']:+.3f} ({estimate['low']:+.3f}, {estimate['high']:+.3f})" if estimate else ""


def _intervals(measured: Record) -> tuple[str, str]:
    before, after = measured["before"], measured["after"]
    return f"{before['low']:.3f}-{before['high']:.3f}", f"{after['low']:.3f}-{after['high']:.3f}"


def _before_after(measured: Record) -> str:
    return f"{measured['before']['value']:.3f} → {measured['after']['value']:.3f}"


def _interval(estimate: Record) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"


def _range(one: Record) -> str:
    return f"{one['fewest']}" if one["fewest"] == one["most"] else f"{one['fewest']}-{one['most']}"
