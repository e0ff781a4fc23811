"""Write docs/performance.md from its frame and the records in benchmarks/results.

    python scripts/render_performance.py            # writes the page
    python scripts/render_performance.py --check    # fails if the page is not what the records give

The frame, benchmarks/performance.frame.md, holds the words; `{{ NAME }}` on a line of its own is replaced by the
tables of benchmarks/results/NAME.json, with its circumstances below.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from qwen3_rerank_plugins.bench.report import as_markdown, describe, grids_of

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results"
FRAME = ROOT / "benchmarks" / "performance.frame.md"
PAGE = ROOT / "docs" / "performance.md"


def render() -> str:
    """The whole page."""
    frame = FRAME.read_text(encoding="utf-8")
    return re.sub(r"^\{\{ ([\w-]+) \}\}$", lambda found: tables_of(found[1]), frame, flags=re.MULTILINE)


def tables_of(name: str) -> str:
    """The tables of one record in markdown."""
    record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    tables = [f"**{grid.title}**\n\n{as_markdown(grid)}" for grid in grids_of(record)]
    origin = f"*{describe(record)}. Record: [{name}.json](../benchmarks/results/{name}.json).*"
    return "\n\n".join([*tables, origin])


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Render docs/performance.md from the benchmark records.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    page = render()
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") != page:
            raise SystemExit("docs/performance.md is out of date: python scripts/render_performance.py")
        return
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
