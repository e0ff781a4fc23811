"""`qwen3-rerank cache`, and the option that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Run, one_line


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    (tmp_path / "facts.txt").write_text("Bees make honey.\nGold is heavy.\n", encoding="utf-8")
    found = tmp_path / "scores.db"
    done = run("rank", "--query", "honey", "--model", MODEL, "--cache", found, tmp_path / "facts.txt")
    assert done.exit_code == 0
    return found


def test_info_and_clear_say_what_is_in_the_file(run: Run, file: Path) -> None:
    assert run("cache", "info", file).stdout.startswith("2 scores in ")
    assert run("cache", "clear", file).stdout == "2 scores were deleted.\n"
    assert run("cache", "info", file).stdout.startswith("0 scores in ")


def test_json_has_the_numbers(run: Run, file: Path) -> None:
    found = json.loads(run("cache", "info", file, "--json").stdout)
    size = sum(part.stat().st_size for part in (file, file.with_name("scores.db-wal")) if part.exists())
    assert found == {"scores": 2, "bytes": size, "bytes_per_score": 192}
    assert json.loads(run("cache", "clear", file, "--json").stdout) == {"cleared": 2}


def test_a_second_run_gives_the_same_results(run: Run, file: Path, tmp_path: Path) -> None:
    arguments = ("rank", "--query", "honey", "--model", MODEL, "--json", tmp_path / "facts.txt")
    assert run(*arguments, "--cache", file).stdout == run(*arguments).stdout
    assert json.loads(run("cache", "info", file, "--json").stdout)["scores"] == 2


def test_a_file_that_is_no_cache_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no cache", encoding="utf-8")
    for arguments in (("info", tmp_path / "missing"), ("clear", tmp_path / "text"), ("info", tmp_path)):
        done = run("cache", *arguments)
        assert done.exit_code == 2
        assert one_line(done.stderr)


def test_another_action_is_refused(run: Run, file: Path) -> None:
    done = run("cache", "delete", file)
    assert done.exit_code == 2
    assert "'delete' is not one of 'info', 'clear'" in done.stderr
    assert file.exists()
