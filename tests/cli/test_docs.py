"""docs/cli.md: it documents exactly the commands and their options, and its examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from render_cli import render

from qwen3_rerank_plugins.cli.app import app
from tests.cli.conftest import without_progress

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SHARED = "Model and limits"


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")} - {"--help"}


def documented(command: str) -> set[str]:
    own = re.findall(r"^\| `(--[\w-]+)` \|", SECTIONS[command], re.MULTILINE)
    shared = re.findall(r"^\| `(--[\w-]+)` \| ([\w, ]+) \|", SECTIONS[SHARED], re.MULTILINE)
    return {*own, *(option for option, commands in shared if command in commands.split(", "))}


def examples() -> list[tuple[str, str]]:
    """Each command line of the page, in order, and what the page shows of its output."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(line.partition("\n")[0], line.partition("\n")[2]) for line in lines]


def essence(output: str) -> list[str]:
    """Output without what differs from machine to machine: digits, bars and the space around them."""
    return [re.sub(r"[\d.█▏▎▍▌▋▊▉\s]+", " ", line).strip() for line in output.splitlines() if line.strip()]


def test_every_command_has_its_section() -> None:
    assert list(COMMANDS) == [name for name in SECTIONS if name in COMMANDS]
    assert set(SECTIONS) - set(COMMANDS) == {SHARED, "Output and exit codes"}


@pytest.mark.parametrize("command", COMMANDS)
def test_exactly_the_options_of_a_command_are_documented(command: str) -> None:
    assert documented(command) == options(COMMANDS[command])


def test_the_tables_are_what_the_commands_give() -> None:
    assert render(PAGE) == PAGE, "docs/cli.md is out of date: python tools/render_cli.py"


@pytest.mark.parametrize(
    ("old", "new"), [("| `--on-error` | `raise` |", "| `--on-error` | `column` |"), ("| [rank](#rank) |", "| rank |")]
)
def test_a_stale_table_is_seen_and_mended(old: str, new: str) -> None:
    assert PAGE.count(old) == 1
    assert render(PAGE.replace(old, new)) == PAGE


def test_every_command_has_a_table_of_its_options() -> None:
    assert all(f"<!-- options: {command} -->" in SECTIONS[command] for command in COMMANDS)


def test_the_applications_own_options_are_documented() -> None:
    own = options(typer.main.get_command(app)) | {"--help"}
    assert all(f"`{option}`" in SECTIONS["Output and exit codes"] for option in own)


@pytest.mark.slow
def test_every_example_runs_and_shows_what_the_page_shows(tmp_path: Path) -> None:
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line, shown in examples():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": paths, "COLUMNS": "80"},
        )
        refused = shown.startswith("qwen3-rerank: ")
        assert done.returncode == (2 if refused else 0), f"{line}\n{done.stderr}"
        if shown:
            assert essence(done.stdout + without_progress(done.stderr)) == essence(shown), line


def test_the_page_shows_examples_of_every_command() -> None:
    assert set(COMMANDS) <= {word for line, _ in examples() for word in line.split()}


def test_the_page_names_every_exit_code() -> None:
    from qwen3_rerank_plugins.cli import app as module

    codes = re.findall(r"^\| (\d+) \|", SECTIONS["Output and exit codes"], re.MULTILINE)
    assert {int(code) for code in codes} == {0, module.FAILED, module.BAD_INPUT, module.INTERRUPTED}
