"""Write docs/reliability.md from its frame and the records in benchmarks/results.

    python tools/render_reliability.py            # writes the page
    python tools/render_reliability.py --check    # fails if the page is out of date

The frame, benchmarks/reliability.frame.md, holds the text. A line `{{ NAME }}` is replaced by the tables of
benchmarks/results/NAME.json and the picture beside it.
"""

from __future__ import annotations

import json
import re

from render_performance import ROOT, print_tables, write_or_check

from tests.load.tables import grids_of


def render() -> str:
    """Return the whole page."""
    frame = (ROOT / "benchmarks" / "reliability.frame.md").read_text(encoding="utf-8")
    return re.sub(r"^\{\{ ([\w-]+) \}\}$", lambda found: tables_of(found[1]), frame, flags=re.MULTILINE)


def tables_of(name: str) -> str:
    """Return the tables and the picture of one record in Markdown."""
    file = ROOT / "benchmarks" / "results" / f"{name}.json"
    if not file.exists():
        return "*There is no record yet.*"
    record = json.loads(file.read_text(encoding="utf-8"))
    picture = f"![Memory, threads, answers and faults over time](../benchmarks/results/{name}.png)"
    return print_tables(grids_of(record), record, name, *([picture] if file.with_suffix(".png").exists() else []))


if __name__ == "__main__":
    write_or_check({"reliability": render()}, "render_reliability.py")
