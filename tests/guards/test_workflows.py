"""The files that GitHub, Dependabot and pre-commit read match their schemas and the rest of the repository."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guards.test_blocks import check_own
from tests.optional import need
from tests.pages import ROOT, label, read

GITHUB = ROOT / ".github"
FORMS = GITHUB / "ISSUE_TEMPLATE"
FILES = sorted(path for path in GITHUB.rglob("*") if path.is_file())
WORKFLOW: dict[str, Any] = yaml.safe_load(read(GITHUB / "workflows" / "ci.yml"))
PROJECT: dict[str, Any] = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]


def schemas(file: Path) -> list[str]:
    """Return the names of the schemas, bundled with check-jsonschema, that a file of .github must match."""
    if file.parent.name == "workflows":
        return ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
    if file.parent.name == "ISSUE_TEMPLATE":
        return ["vendor.github-issue-config" if file.name == "config.yml" else "vendor.github-issue-forms"]
    assert file.name == "dependabot.yml", f"no schema is known for {file}: add one here"
    return ["vendor.dependabot"]


def violations(file: Path, schema: str) -> str:
    """Return the report of check-jsonschema, or an empty string if the file matches. No schema is downloaded."""
    need("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr) if done.returncode else ""


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_file_matches_its_schemas(file: Path) -> None:
    for schema in schemas(file):
        assert violations(file, schema) == ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("workflows/ci.yml", "runs-on: ubuntu-latest", "runs: ubuntu-latest"),
        ("workflows/ci.yml", "contents: read", "contents: all"),
        ("workflows/ci.yml", "timeout-minutes: 120", ""),
        ("dependabot.yml", "interval: monthly", "interval: sometimes"),
        ("ISSUE_TEMPLATE/bug.yml", "type: textarea", "type: text"),
        ("ISSUE_TEMPLATE/feature.yml", "description: Something", "about: Something"),
        ("ISSUE_TEMPLATE/config.yml", "true", "maybe"),
    ],
)
def test_the_guard_sees_a_file_that_does_not_match(name: str, old: str, new: str, tmp_path: Path) -> None:
    broken = tmp_path / name
    broken.parent.mkdir(exist_ok=True)
    text = read(GITHUB / name)
    assert old in text
    broken.write_text(text.replace(old, new), encoding="utf-8")
    assert any("Schema validation errors" in violations(broken, schema) for schema in schemas(broken))


def test_the_workflow_may_only_read_the_repository() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in WORKFLOW["jobs"].values())


def test_the_gate_runs_on_every_python_of_the_classifiers() -> None:
    versions = re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert WORKFLOW["jobs"]["gate"]["strategy"]["matrix"]["python"] == versions


def test_the_windows_job_installs_and_runs_what_the_makefile_does() -> None:
    makefile = read(ROOT / "Makefile")
    commands = [step["run"] for step in WORKFLOW["jobs"]["windows"]["steps"] if "run" in step]
    (install,) = [command for command in commands if "--editable" in command]
    assert install.partition(" pip ")[2] in makefile
    (test,) = [command for command in commands if "pytest" in command]
    assert "-m pytest -n 2 --dist loadfile --no-loadscope-reorder" in test
    assert "-m pytest -n 2 --dist loadfile --no-loadscope-reorder" in makefile


@pytest.mark.parametrize(
    ("form", "commands"),
    [
        ("gpu-record.yml", {"qwen3-rerank doctor --check --shape 8b --out gpu-check.json"}),
        ("bug.yml", {"qwen3-rerank doctor --json", "qwen3-rerank --version"}),
        ("wrong-scores.yml", {"qwen3-rerank verify --json", "qwen3-rerank doctor --json"}),
    ],
)
def test_a_form_asks_for_the_output_of_commands_that_exist(form: str, commands: set[str]) -> None:
    asked = set(re.findall(r"`(qwen3-rerank [^`]+)`", read(FORMS / form)))
    assert asked >= commands
    for command in asked:
        check_own(shlex.split(command)[1:])


def test_pre_commit_runs_the_pinned_versions() -> None:
    config = yaml.safe_load(read(ROOT / ".pre-commit-config.yaml"))
    revisions = {hook["id"]: repo.get("rev") for repo in config["repos"] for hook in repo["hooks"]}
    assert set(revisions) == {"ruff-check", "ruff-format", "codespell", "check-added-large-files", "mypy"}
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", read(ROOT / "constraints.txt"), re.MULTILINE))
    assert revisions["ruff-check"] == revisions["ruff-format"] == f"v{pins['ruff']}"
    assert revisions["codespell"] == f"v{pins['codespell']}"
