"""Write docs/performance.md and the other `PAGES` from their frames and the records in benchmarks/results.

    python tools/render_performance.py            # writes the pages
    python tools/render_performance.py --check    # fails if a page is out of date

The frames, benchmarks/*.frame.md, hold the text. A line `{{ NAME }}` is replaced by the tables of
benchmarks/results/NAME.json, followed by its circumstances.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gpu_tables
from benchmarks.report import TABLES
from qwen3_rerank_plugins._records.record import Grid, as_markdown, describe
from qwen3_rerank_plugins.bench import report as bench
from qwen3_rerank_plugins.evaluation import report as evaluation

ROOT = Path(__file__).parents[1]
PAGES = ("performance", "evaluation", "two-stages", "which-gpu")
STUDIES = {**bench.TABLES, **TABLES, **gpu_tables.TABLES, **evaluation.STUDIES}


def render(page: str) -> str:
    """Return a whole page."""
    frame = (ROOT / "benchmarks" / f"{page}.frame.md").read_text(encoding="utf-8")
    return re.sub(r"^\{\{ ([\w-]+) \}\}$", lambda found: tables_of(found[1]), frame, flags=re.MULTILINE)


def tables_of(name: str) -> str:
    """Return the tables of one record in Markdown."""
    record = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return print_tables(STUDIES[record["study"]](record["results"]), record, name)


def print_tables(grids: Sequence[Grid], record: dict[str, object], name: str, *more: str) -> str:
    """Return tables in Markdown, then `more` paragraphs, then the circumstances of the record."""
    tables = [f"**{grid.title}**\n\n{as_markdown(grid)}" for grid in grids]
    note = f" {record['note']}" if "note" in record else ""
    origin = f"*{describe(record)}.{note} Record: [{name}.json](../benchmarks/results/{name}.json).*"
    return "\n\n".join([*tables, *more, origin])


def write_or_check(pages: dict[str, str], script: str) -> None:
    """Write pages into docs, or with --check fail if one of them is out of date."""
    parser = argparse.ArgumentParser(description="Render the pages that show records.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is out of date")
    check = parser.parse_args().check
    for name, content in pages.items():
        page = ROOT / "docs" / f"{name}.md"
        if not check:
            page.write_text(content, encoding="utf-8")
        elif page.read_text(encoding="utf-8") != content:
            raise SystemExit(f"docs/{name}.md is out of date: python tools/{script}")


if __name__ == "__main__":
    write_or_check({page: render(page) for page in PAGES}, "render_performance.py")
