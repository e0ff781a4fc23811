"""One version, written once; a changelog that is about it; a checklist whose commands are there."""

from __future__ import annotations

import datetime
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from release_notes import notes, sections

from qwen3_rerank_plugins import __version__
from tests.optional import need

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CHECKLIST = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TODAY = datetime.date(2026, 1, 31)
READY = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-31\n### Fixed\n- It.\n\n## 1.2.2 - 2025-12-24\nOlder.\n"


def commands() -> list[list[str]]:
    """Those of the checklist, as words, without remarks."""
    lines = re.findall(r"^    (\S.*)$", CHECKLIST, re.MULTILINE)
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]


def test_the_version_is_written_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "qwen3_rerank_plugins/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_newest_version_of_the_changelog_is_the_packages_and_the_older_follow() -> None:
    unreleased, *released = sections(CHANGELOG)
    assert (unreleased.name, unreleased.date) == ("Unreleased", None)
    assert released[0].name == __version__
    assert all(section.text for section in released)
    versions = [tuple(map(int, section.name.split("."))) for section in released]
    dates = [section.date for section in released if section.date]
    assert (versions, dates) == (sorted(set(versions), reverse=True), sorted(dates, reverse=True))


def test_the_notes_of_a_release_are_the_text_about_its_version() -> None:
    assert notes(READY, "1.2.3", TODAY) == "### Fixed\n- It."


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Unreleased\n", "Unreleased\n- Something.\n", "Move the text under Unreleased"),
        ("## Unreleased\n", "", "leave Unreleased empty on top"),
        ("1.2.3", "1.2.4", "newest version is 1.2.4, the package's is 1.2.3"),
        ("2026-01-31", "2026-01-30", "dates 1.2.3 to 2026-01-30, today is 2026-01-31"),
        ("1.2.2 - 2025-12-24", "1.2.2", "'## 1.2.2' is neither 'Unreleased' nor a version with a date"),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(complaint)):
        notes(READY.replace(old, new), "1.2.3", TODAY)


def test_every_target_script_and_marker_of_the_checklist_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    markers = {line.partition(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    seen = set()
    for program, *words in commands():
        seen.add(program)
        if program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words
        elif program == "pytest":
            assert words[0] == "-m"
            assert words[1] in markers
        elif program in {"python", ".ci/run"}:
            module = words[1].replace(".", "/") + ".py" if words[:1] == ["-m"] else None
            file = module or (words[0] if program == "python" else program)
            assert (ROOT / file).exists(), file
    assert seen >= {"make", "python", ".ci/run", "pytest", "twine", "git", "qwen3-rerank"}


def test_the_commands_of_our_own_in_the_checklist_are_accepted() -> None:
    need("typer")
    need("rich")
    import typer

    from qwen3_rerank_plugins.cli.app import app

    known: Any = typer.main.get_command(app)
    ours = [words for program, *words in commands() if program == "qwen3-rerank"]
    assert {words[0] for words in ours} >= {"verify", "bench"}
    for name, *arguments in ours:
        known.commands[name].make_context(name, list(arguments))
