"""The command line as a test runs it, and the one model it runs with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.cli import heartbeat, loading
from qwen3_rerank_plugins.cli.app import app
from tests.doubles import OverlapScorer

MODEL = "demo"
"""What every test ranks with that needs a real model."""

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _any_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model is larger than many a machine, and most tests have a double in its place."""
    monkeypatch.setattr(loading, "warning_about_size", lambda settings: None)


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may depend on how long something takes."""
    monkeypatch.setattr(heartbeat, "EVERY", 1e6)


@pytest.fixture
def run() -> Run:
    """A command in this process: its exit code, stdout and stderr."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> OverlapScorer:
    """The double in place of every engine."""
    scorer = OverlapScorer()
    monkeypatch.setattr(registry, "acquire", lambda settings, user: scorer)
    return scorer


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """A file of the given name and text."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def in_a_process(*arguments: str, input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell would start it."""
    command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", *arguments]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=input, env=variables)
    done.stderr = without_progress(done.stderr)
    return done


def without_progress(stderr: str) -> str:
    """What a command said, but for the lines that only a slow machine makes it say."""
    return re.sub(r"^qwen3-rerank: .*: .*\d+:\d\d:\d\d.*\n", "", stderr, flags=re.MULTILINE)


def one_line(complaint: str) -> str:
    """The complaint, after a check that it is one line and no traceback."""
    assert complaint.startswith("qwen3-rerank: ")
    assert complaint.count("\n") == 1
    return complaint.removeprefix("qwen3-rerank: ").rstrip()
