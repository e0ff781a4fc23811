"""Write docs/performance.md, evaluation.md and two-stages.md from their frames and the records in benchmarks/results.

    python tools/render_performance.py            # writes the pages
    python tools/render_performance.py --check    # fails if a page is not what the records give

The frames, benchmarks/*.frame.md, hold the words; `{{ NAME }}` on a line of its own is replaced by the tables of
benchmarks/results/NAME.json, with its circumstances below.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from qwen3_rerank_plugins.bench import report as bench_report
from qwen3_rerank_plugins.bench.report import as_markdown, describe
from qwen3_rerank_plugins.evaluation import report as evaluation_report

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results"
PAGES = ("performance", "evaluation", "two-stages")


def render(name: str) -> str:
    """A whole page."""
    frame = (ROOT / "benchmarks" / f"{name}.frame.md").read_text(encoding="utf-8")
    return re.sub(r"^\{\{ ([\w-]+) \}\}$", lambda found: tables_of(found[1]), frame, flags=re.MULTILINE)


def tables_of(name: str) -> str:
    """The tables of one record in markdown."""
    record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    report = evaluation_report if record["study"] in evaluation_report.STUDIES else bench_report
    tables = [f"**{grid.title}**\n\n{as_markdown(grid)}" for grid in report.grids_of(record)]
    origin = f"*{describe(record)}. Record: [{name}.json](../benchmarks/results/{name}.json).*"
    return "\n\n".join([*tables, origin])


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Render the pages that stand on records.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is out of date")
    check = parser.parse_args().check
    for name in PAGES:
        page = ROOT / "docs" / f"{name}.md"
        if not check:
            page.write_text(render(name), encoding="utf-8")
        elif page.read_text(encoding="utf-8") != render(name):
            raise SystemExit(f"docs/{name}.md is out of date: python tools/render_performance.py")


if __name__ == "__main__":
    main()
