"""The results of `verify` as tables for people, or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qwen3_rerank_plugins._plurals import share
from qwen3_rerank_plugins.display.ranking_table import compact_table, printable
from qwen3_rerank_plugins.verify.comparison import Comparison
from qwen3_rerank_plugins.verify.provenance import Provenance
from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.recording import Recording
from qwen3_rerank_plugins.verify.verification import CaseVerdict, Recheck

_MARKS = {True: ("✓ ", "bold green"), False: ("✗ ", "bold red"), None: ("· ", "dim")}


def case_table(verdict: CaseVerdict) -> RenderableType:
    """Return the case, one row per document, and the verdict."""
    case, comparison = verdict.case, verdict.comparison
    table = _table("expected", "got", "difference", text="document")
    rows = zip(case.question.documents, comparison.expected, comparison.got, comparison.differences, strict=True)
    for text, expected, got, difference in rows:
        off = verdict.passed is not None and difference > comparison.tolerance
        distance = Text(_figure(difference), "red" if off else "")
        table.add_row(_figure(expected), _figure(got), distance, Text(printable(text)))
    heading = Text.assemble((case.name, "bold cyan"), f"  {case.question.query}")
    source = Text(f"{case.measure} in {case.dtype}, confidence {case.confidence}: {case.source}", "dim")
    words = {
        True: f"within {comparison.tolerance:g}, order kept",
        False: f"{_distance(comparison)}; {comparison.tolerance:g} is allowed",
        None: "for information only",
    }
    return Group(heading, source, table, Text.assemble(_MARKS[verdict.passed], words[verdict.passed]), "")


def recheck_table(recheck: Recheck) -> RenderableType:
    """Return one row per query with the document that moved most, the changed circumstances, and the verdict."""
    table = _table("expected", "got", "difference", "order", text="query")
    for recorded, comparison in zip(recheck.recording.questions, recheck.comparisons, strict=True):
        worst = comparison.worst
        figures = ("", "") if worst is None else (_figure(comparison.expected[worst]), _figure(comparison.got[worst]))
        table.add_row(
            *figures,
            Text(_figure(comparison.largest_difference), "" if comparison.passed else "red"),
            "kept" if comparison.order_kept else Text("changed", "red"),
            Text.assemble(_MARKS[comparison.passed], printable(recorded.question.query)),
        )
    changes = [printable(f"{change.what} {change.before} -> {change.now}") for change in recheck.changes]
    since = f"Changed since it was recorded: {', '.join(changes)}." if changes else "Made as it was recorded."
    moved = sum(not comparison.passed for comparison in recheck.comparisons)
    verdict = (
        Text.assemble(("Moved:", "red"), f" {share(moved, len(recheck.comparisons), 'query')} by more than ")
        if moved
        else Text.assemble(("Nothing has moved", "green"), " by more than ")
    )
    return Group(table, "", Text(since), verdict.append(f"{recheck.tolerance:g} in log-odds."))


def cases_to_json(verdicts: Sequence[CaseVerdict], made: Provenance) -> str:
    """Return one line of strict JSON in ASCII."""
    cases = [
        {
            "name": verdict.case.name,
            "passed": verdict.passed,
            "confidence": verdict.case.confidence,
            "source": verdict.case.source,
            "measure": verdict.case.measure,
            **_as_object(verdict.case.question, verdict.comparison),
        }
        for verdict in verdicts
    ]
    passed = all(verdict.passed is not False for verdict in verdicts)
    return _strict({"passed": passed, "made": dataclasses.asdict(made), "cases": cases})


def recheck_to_json(recheck: Recheck) -> str:
    """Return one line of strict JSON in ASCII."""
    questions = [
        {"passed": comparison.passed, **_as_object(recorded.question, comparison)}
        for recorded, comparison in zip(recheck.recording.questions, recheck.comparisons, strict=True)
    ]
    return _strict(
        {
            "passed": recheck.passed,
            "made": dataclasses.asdict(recheck.provenance),
            "changes": [dataclasses.asdict(change) for change in recheck.changes],
            "queries": questions,
        }
    )


def recording_to_json(file: Path, recording: Recording) -> str:
    """Return one line of strict JSON in ASCII."""
    return _strict(
        {
            "recorded": str(file),
            "queries": len(recording.questions),
            "documents": sum(len(recorded.log_odds) for recorded in recording.questions),
            "made": dataclasses.asdict(recording.provenance),
        }
    )


def _as_object(question: Question, comparison: Comparison) -> dict[str, Any]:
    rows = zip(question.documents, comparison.expected, comparison.got, comparison.differences, strict=True)
    return {
        "query": question.query,
        "instruction": question.instruction,
        "tolerance": _finite(comparison.tolerance),
        "largest_difference": _finite(comparison.largest_difference),
        "order_kept": comparison.order_kept,
        "documents": [
            {"text": text, "expected": _finite(expected), "got": _finite(got), "difference": _finite(difference)}
            for text, expected, got, difference in rows
        ],
    }


def _strict(content: dict[str, Any]) -> str:
    return json.dumps(content, allow_nan=False)


def _finite(figure: float) -> float | None:
    """Return None for infinity, which JSON does not have."""
    return figure if math.isfinite(figure) else None


def _table(*figures: str, text: str) -> Table:
    table = compact_table()
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(text, no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def _figure(figure: float) -> str:
    return "blank" if figure == -math.inf else f"{figure:.4f}"


def _distance(comparison: Comparison) -> str:
    moved = f"off by up to {_figure(comparison.largest_difference)}"
    return moved if comparison.order_kept else f"{moved}, order changed"
