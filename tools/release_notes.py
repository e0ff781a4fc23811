"""Print the changelog section of the current version, for the tag and the release page.

    python tools/release_notes.py

Fails if the changelog is not ready: if something is unreleased, if its newest version is not that of the package, or if
the date is not today's.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from qwen3_rerank_plugins import __version__

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the changelog: `## 1.2.3 - 2026-01-31`, or `## Unreleased` without a date."""

    name: str
    date: datetime.date | None
    text: str


def sections(changelog: str) -> list[Section]:
    """Return the sections, newest first; a heading of any other form is an error."""
    _, *parts = re.split(r"^## ", changelog, flags=re.MULTILINE)
    return [_read(*part.partition("\n")[::2]) for part in parts]


def notes(changelog: str, version: str, today: datetime.date) -> str:
    """Return the text of the version that is released today."""
    unreleased, newest, *_ = sections(changelog)
    if unreleased.name != "Unreleased" or unreleased.text:
        raise SystemExit(
            "Move the text under Unreleased into the version's section, and leave Unreleased empty on top."
        )
    if newest.name != version:
        raise SystemExit(f"The changelog's newest version is {newest.name}, the package's is {version}. Change one.")
    if newest.date != today:
        raise SystemExit(f"The changelog dates {version} to {newest.date}, today is {today}. Change the date.")
    return newest.text


def _read(heading: str, text: str) -> Section:
    if heading == "Unreleased":
        return Section(heading, None, text.strip())
    found = re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)", heading)
    if not found:
        raise SystemExit(f"'## {heading}' is neither 'Unreleased' nor a version with a date, as '1.2.3 - 2026-01-31'.")
    return Section(found[1], datetime.date.fromisoformat(found[2]), text.strip())


def main() -> None:
    """Print the notes."""
    print(notes(CHANGELOG.read_text(encoding="utf-8"), __version__, datetime.datetime.now(datetime.UTC).date()))


if __name__ == "__main__":
    main()
