"""Write docs/reliability.md from its frame and the records in benchmarks/results.

    python tools/render_reliability.py            # writes the page
    python tools/render_reliability.py --check    # fails if the page is not what the records give

The frame, benchmarks/reliability.frame.md, holds the words; `{{ NAME }}` on a line of its own is replaced by the
tables of benchmarks/results/NAME.json and the picture beside it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from qwen3_rerank_plugins.bench.report import as_markdown, describe
from tests.load.tables import grids_of

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results"
FRAME = ROOT / "benchmarks" / "reliability.frame.md"
PAGE = ROOT / "docs" / "reliability.md"


def render() -> str:
    """The whole page."""
    frame = FRAME.read_text(encoding="utf-8")
    return re.sub(r"^\{\{ ([\w-]+) \}\}$", lambda found: tables_of(found[1]), frame, flags=re.MULTILINE)


def tables_of(name: str) -> str:
    """The tables and the picture of one record in markdown."""
    file = RECORDS / f"{name}.json"
    if not file.exists():
        return "*There is no record yet.*"
    record = json.loads(file.read_text(encoding="utf-8"))
    tables = [f"**{grid.title}**\n\n{as_markdown(grid)}" for grid in grids_of(record)]
    origin = f"*{describe(record)}. Record: [{name}.json](../benchmarks/results/{name}.json).*"
    picture = f"![Memory, threads, answers and faults over time](../benchmarks/results/{name}.png)"
    return "\n\n".join([*tables, *([picture] if file.with_suffix(".png").exists() else []), origin])


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Render docs/reliability.md from the records of load and soak.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    page = render()
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") != page:
            raise SystemExit("docs/reliability.md is out of date: python tools/render_reliability.py")
        return
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
