"""The folder of answers: one job at a time, and errors of its disk are reported as such."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import BatchError, SettingsError
from qwen3_rerank_plugins.ray import rerank_files
from qwen3_rerank_plugins.ray.output_folder import HOLDER, locked, replace_file
from tests.requests import some_requests, write_jsonl

HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from qwen3_rerank_plugins.ray.output_folder import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextlib.contextmanager
def another_job(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_that_another_job_works_in_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with another_job(out) as other:
        unfinished = out / f".part-000000.jsonl.run.{other.pid}"
        unfinished.touch()
        with pytest.raises(SettingsError, match=rf"in use by another job, process {other.pid} on .* since 20\d\d-"):
            rerank_files(write_jsonl(tmp_path / "a.jsonl", some_requests(1)), out, Qwen3Reranker("demo"))
        assert unfinished.exists()
        assert not (out / "_manifest.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_the_lock_of_a_job_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    with another_job(tmp_path / "out") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert (tmp_path / "out" / HOLDER).exists()
    with locked(tmp_path / "out"):
        assert json.loads((tmp_path / "out" / HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "out" / HOLDER).exists()


def test_two_jobs_of_one_process_are_two_jobs(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(SettingsError, match=f"process {os.getpid()}"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_output_that_is_a_file_or_below_one_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="cannot be a folder: .* is a file"):
        rerank_files(write_jsonl(tmp_path / "a.jsonl", some_requests(1)), tmp_path / name, Qwen3Reranker("demo"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody may write to")
def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="/proc/nowhere cannot be used for answers"):
        rerank_files(write_jsonl(tmp_path / "a.jsonl", some_requests(1)), "/proc/nowhere", Qwen3Reranker("demo"))


def with_files_of_at_most(most: int, program: str, *arguments: str) -> str:
    """Run a program whose files cannot grow further, as on a full disk; what it says."""
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    return done.stdout


ANSWER = (
    "import sys\n"
    "from pathlib import Path\n"
    "from qwen3_rerank_plugins.ray.partition_ranker import failure_of\n"
    "from tests.ray.test_partition_ranker import run, split\n"
    "(partition,) = split(Path(sys.argv[1]))\n"
    "failure = failure_of(run(partition, Path(sys.argv[2])))\n"
    "print(type(failure).__name__, failure)\n"
)


@pytest.mark.slow
def test_a_disk_that_is_full_within_a_part_is_told_and_the_job_goes_on_afterwards(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", some_requests(40))
    out = tmp_path / "out"
    told = with_files_of_at_most(4096, ANSWER, str(file), str(out))
    assert told.startswith(f"BatchError {out / 'part-000000.jsonl'} cannot be written on ")
    assert "Free some space, then run the job again" in told
    assert "cluster" not in told
    assert [one.name for one in out.iterdir() if "part-" in one.name] == []
    assert with_files_of_at_most(2**30, ANSWER, str(file), str(out)) == "NoneType None\n"
    assert (out / "part-000000.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_at_the_manifest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from qwen3_rerank_plugins.ray.output_folder import replace_file\n"
        "try: replace_file(Path(sys.argv[1]), 'x' * 9000)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    told = with_files_of_at_most(1000, program, str(tmp_path / "_manifest.json"))
    assert told.startswith(f"BatchError {tmp_path / '_manifest.json'} cannot be written on ")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BatchError, match="Check the disk and its permissions"):
        replace_file(tmp_path / "gone" / "_manifest.json", "x")
