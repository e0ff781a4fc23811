"""`qwen3-rerank batch`: a folder of answers, whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import BatchError
from tests.cli.conftest import MODEL, Run, in_a_process, one_line
from tests.clusters import actors_of
from tests.requests import read_answers, some_requests, write_jsonl

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_driver_that_is_killed_goes_on_where_it_was_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    rows = some_requests(60, documents=4, words=40)
    file, out = write_jsonl(tmp_path / "requests.jsonl", rows), tmp_path / "out"
    command = ["batch", str(file), str(out), "--model", MODEL, "--partition-rows", "2", "--top-n", "3", "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "qwen3_rerank_plugins.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while first.poll() is None and len(list(out.glob("part-*"))) < 2:
        time.sleep(0.01)
    actors = actors_of(psutil.Process(first.pid), "MapBatches(PartitionRanker)")
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert actors
    assert not psutil.wait_procs(actors, timeout=60)[1], "actors outlived their driver"
    before = {answers.name: answers.stat().st_mtime_ns for answers in out.glob("part-*")}
    assert 2 <= len(before) < 30, "it was killed too late"

    done = in_a_process(*command)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["errors"], told["partitions"], told["resumed"]) == (60, 0, 30, len(before))
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    answers = read_answers(out)
    assert [(answer["row"], answer["query_id"]) for answer in answers] == [(n, f"q{n}") for n in range(60)]
    serial = Qwen3Reranker(MODEL)
    for row, answer in zip(rows, answers, strict=True):
        expected = serial.rank(row["query"], [candidate["text"] for candidate in row["candidates"]], top_n=3)
        assert [found["logit"] for found in answer["results"]] == [
            pytest.approx(document.logit, abs=1e-4) for document in expected
        ]
    assert [file.name for file in out.iterdir() if file.name[0] == "."] == []


def test_every_setting_is_the_jobs_and_a_job_of_nothing_needs_no_cluster(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    out = tmp_path / "out"
    options = [
        "--instruction",
        "Find",
        "--top-n",
        "3",
        "--min-score",
        "0.2",
        "--max-length",
        "99",
        "--dtype",
        "float32",
    ]
    modes = ["--long-documents", "windows", "--on-nonfinite", "float32", "--partition-rows", "7"]
    done = run("batch", tmp_path / "a.jsonl", out, "--model", MODEL, *options, *modes)
    assert (done.exit_code, done.stdout) == (0, f"{out} holds 0 answers in 0 files.\n")
    manifest = json.loads((out / "_manifest.json").read_text())
    assert manifest["partition_rows"] == 7
    settings = {"instruction": "Find", "top_n": 3, "min_score": 0.2, "max_length": 99, "model": MODEL}
    settings |= {"dtype": "float32", "long_documents": "windows", "on_nonfinite": "float32"}
    assert settings.items() <= manifest["settings"].items()


def test_another_job_in_the_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    command = ["batch", tmp_path / "a.jsonl", tmp_path / "out", "--model", MODEL]
    assert run(*command).exit_code == 0
    done = run(*command, "--top-n", "3")
    assert done.exit_code == 2
    assert "holds answers of another job: top_n was None and is 3." in one_line(done.stderr)


@pytest.mark.parametrize("missing", ["nothing.jsonl", "-"])
def test_requests_that_are_not_there_are_one_line(run: Run, tmp_path: Path, missing: str) -> None:
    done = run("batch", missing, tmp_path / "out", "--model", MODEL)
    assert done.exit_code == 2
    assert f"{missing} is no file of requests" in one_line(done.stderr)
    assert not (tmp_path / "out").exists()


def test_an_address_where_no_cluster_is_is_one_line(run: Run, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", some_requests(1))
    done = run("batch", file, tmp_path / "out", "--model", MODEL, "--address", "127.0.0.1:1")
    assert done.exit_code == 2
    assert "No Ray cluster can be used at 127.0.0.1:1" in one_line(done.stderr)


def test_what_ray_cannot_finish_is_a_failure_and_no_bad_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen3_rerank_plugins.ray import job

    def gives_up(*_: object) -> None:
        raise BatchError("Ray gave up: no nodes are left.")

    monkeypatch.setattr(job, "cluster", gives_up)
    done = run("batch", write_jsonl(tmp_path / "a.jsonl", some_requests(1)), tmp_path / "out", "--model", MODEL)
    assert (done.exit_code, one_line(done.stderr)) == (1, "Ray gave up: no nodes are left.")
