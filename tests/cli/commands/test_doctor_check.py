"""`qwen3-rerank doctor --check`: its lines, its record, its exit code, and the options that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen3_rerank_plugins.device_check import run as device_check
from qwen3_rerank_plugins.device_check.check import Check
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

CHECKS = [Check("kernels", 0.1, 0.5), Check("fa3", note="not installed")]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What the checks of the device find, instead of running them."""
    found = [*CHECKS]
    monkeypatch.setattr(device_check, "small_checks", lambda *_: iter(found))
    return found


@pytest.mark.usefixtures("checks")
def test_each_check_is_a_line_and_the_record_is_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    done = run("doctor", "--check", "--device", "cpu", "--out", str(out))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [*(check.line() for check in CHECKS), "Every check passed."]
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [check["name"] for check in record["results"]["checks"]] == ["kernels", "fa3"]


def test_one_failure_is_exit_code_1(run: Run, checks: list[Check]) -> None:
    checks.append(Check("memory", 2.0, 1.0))
    done = run("doctor", "--check", "--device", "cpu")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-2:] == ["FAIL memory: 2 (limit 1)", "Checks that failed: 1."]


@pytest.mark.usefixtures("checks")
def test_json_is_the_record_and_the_lines_go_to_stderr(run: Run) -> None:
    done = run("doctor", "--check", "--device", "cpu", "--json")
    assert json.loads(done.stdout)["results"]["passed"] is True
    assert CHECKS[0].line() in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--check", "--model", "demo"), "--model"),
        (("--check", "--quantization", "int8"), "--quantization"),
        (("--check", "--device", "cpu", "--devices", "cpu,cpu"), "--devices"),
        (("--shape", "8b"), "--check"),
        (("--out", "record.json"), "--check"),
    ],
)
def test_an_option_without_effect_is_refused(options: tuple[str, ...], named: str, run: Run) -> None:
    done = run("doctor", *options)
    assert done.exit_code == 2
    assert named in done.stderr


def test_the_small_checks_run_on_a_cpu(run: Run) -> None:
    done = run("doctor", "--check", "--device", "cpu", "--dtype", "float32")
    assert done.exit_code == 0, done.stdout
    marks = {line[:4] for line in done.stdout.splitlines()[:-1]}
    assert marks == {"ok  ", "skip"}
