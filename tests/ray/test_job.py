"""Whole jobs on a real cluster: killed work is repeated, finished work is not, and every row is counted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.report import ScoringReport
from qwen3_rerank_plugins.errors import BatchError, CheckpointNotFoundError, RequestError, SettingsError
from qwen3_rerank_plugins.ray import Summary, job, rerank_files
from qwen3_rerank_plugins.ray.cluster import choose_pool
from qwen3_rerank_plugins.ray.manifest import claim, manifest_of
from qwen3_rerank_plugins.ray.output_folder import read_finished
from qwen3_rerank_plugins.ray.partition_ranker import FORMATS, failure_of
from qwen3_rerank_plugins.ray.source import partitions_of
from tests.clusters import RAYS_OWN_WARNINGS, actors_of, small_cluster
from tests.ray.test_fingerprint import replace_weights
from tests.ray.test_partition_ranker import run, split
from tests.requests import read_answers, some_requests, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(RAYS_OWN_WARNINGS)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with small_cluster():
        yield


def check_against_a_serial_run(rows: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    """Every request exactly once, in order, with the scores that the facade gives one after the other."""
    assert [(answer["row"], answer["query_id"]) for answer in answers] == [
        (number, row["query_id"]) for number, row in enumerate(rows)
    ]
    serial = Qwen3Reranker("demo")
    for row, answer in zip(rows, answers, strict=True):
        found = {result["index"]: result["logit"] for result in answer["results"]}
        texts = [candidate["text"] for candidate in row["candidates"]]
        expected = {document.index: document.logit for document in serial.rank(row["query"], texts)}
        assert found == {index: pytest.approx(logit, abs=1e-4) for index, logit in expected.items()}


def times(folder: Path) -> dict[str, int]:
    """When each file of answers was written."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*")}


@pytest.mark.slow
def test_an_actor_that_is_killed_in_the_middle_loses_and_doubles_nothing(cluster: None, tmp_path: Path) -> None:
    rows = some_requests(48, documents=6, words=40)
    ourselves = psutil.Process()
    first: set[int] = set()
    later: set[int] = set()
    unfinished: list[str] = []

    def kill_one(done: int, total: int) -> None:
        working = {actor.pid for actor in actors_of(ourselves, "MapBatches(PartitionRanker)")}
        if not 0 < done < total:
            later.update(working)
        elif not first:
            first.update(working)
            os.kill(min(first), signal.SIGKILL)
            psutil.Process(min(first)).wait(10)
            unfinished.extend(file.name for file in (tmp_path / "out").glob(".part-*"))

    summary = rerank_files(
        write_jsonl(tmp_path / "requests.jsonl", rows),
        tmp_path / "out",
        Qwen3Reranker("demo"),
        partition_rows=4,
        actors=2,
        on_progress=kill_one,
    )
    assert len(first) == 2
    assert unfinished, "the actor was killed while it had nothing to do"
    assert later - first, "no other actor took its place"
    assert summary == Summary(48, 0, 12, 0, 0, summary.receipt)
    check_against_a_serial_run(rows, read_answers(tmp_path / "out"))
    assert not list((tmp_path / "out").glob(".part-*"))


@pytest.mark.slow
def test_a_job_that_failed_goes_on_from_what_it_finished(cluster: None, tmp_path: Path) -> None:
    """A bad row fails it, as an error of ours; the second run is told to keep bad rows, which moves no other answer."""
    rows: list[dict[str, Any]] = some_requests(12)
    rows[9]["query"] = None
    file, out = write_jsonl(tmp_path / "requests.jsonl", rows), tmp_path / "out"
    job_of = {"reranker": Qwen3Reranker("demo"), "partition_rows": 4, "actors": 1}
    with pytest.raises(RequestError, match="requests.jsonl line 10: 'query' must be a string, got null"):
        rerank_files(file, out, **job_of)
    done = times(out)
    assert set(done) == {"part-000000.jsonl", "part-000001.jsonl"}
    progress: list[tuple[int, int]] = []
    summary = rerank_files(
        file, out, **job_of, on_error="column", on_progress=lambda done, total: progress.append((done, total))
    )
    assert (summary.rows, summary.errors, summary.partitions, summary.resumed) == (12, 1, 3, 2)
    assert progress == [(8, 12), (12, 12)]
    assert {name: time for name, time in times(out).items() if name in done} == done
    answers = read_answers(out)
    assert answers[9]["error"] == f"RequestError: {file} line 10: 'query' must be a string, got null."
    check_against_a_serial_run(rows[:9], answers[:9])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_input_replaced_while_the_job_runs_is_refused_and_once_it_is_back_nothing_is_lost_or_doubled(
    kind: str, cluster: None, tmp_path: Path
) -> None:
    rows = some_requests(24)
    file, out = tmp_path / f"requests.{kind}", tmp_path / "out"
    table = pa.Table.from_pylist(rows)
    write_jsonl(file, rows) if kind == "jsonl" else pq.write_table(table, file, row_group_size=4)
    content = file.read_bytes()

    def replace(done: int, total: int) -> None:
        if done and file.read_bytes() == content:
            other = some_requests(24, seed=1)
            write_jsonl(file, other) if kind == "jsonl" else pq.write_table(
                pa.Table.from_pylist(other), file, row_group_size=4
            )

    words: dict[str, Any] = {"reranker": Qwen3Reranker("demo"), "partition_rows": 4, "actors": 1}
    with pytest.raises(RequestError, match=f"requests.{kind} has changed since this job began"):
        rerank_files(file, out, **words, on_progress=replace)
    with pytest.raises(SettingsError, match=f"its input requests.{kind} has changed since"):
        rerank_files(file, out, **words)
    file.write_bytes(content)
    summary = rerank_files(file, out, **words)
    assert (summary.rows, summary.errors, summary.redone) == (24, 0, 0)
    assert 1 <= summary.resumed < 6
    if kind == "jsonl":
        check_against_a_serial_run(rows, read_answers(out))


@pytest.mark.slow
def test_weights_replaced_while_the_job_runs_end_it_and_no_row_is_of_the_other_model(
    cluster: None, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    rows, out = some_requests(24), tmp_path / "out"
    file = write_jsonl(tmp_path / "requests.jsonl", rows)
    kept = (model / "model.safetensors").read_bytes()
    words: dict[str, Any] = {"reranker": Qwen3Reranker(str(model)), "partition_rows": 4, "actors": 1}

    def replace(done: int, total: int) -> None:
        if done and (model / "model.safetensors").read_bytes() == kept:
            replace_weights(model)

    with pytest.raises(BatchError, match="model.safetensors of the model .* changed on .* while the job was running"):
        rerank_files(file, out, **words, on_progress=replace)
    with pytest.raises(SettingsError, match="model.safetensors of the model changed"):
        rerank_files(file, out, **words)
    (model / "model.safetensors").write_bytes(kept)
    summary = rerank_files(file, out, **words)
    assert (summary.rows, summary.errors) == (24, 0)
    assert 1 <= summary.resumed < 6
    check_against_a_serial_run(rows, read_answers(out))
    replace_weights(model)
    with pytest.raises(SettingsError, match="model.safetensors of the model changed"):
        rerank_files(file, out, **words)  # nothing is left to do, and still it is another model's


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["altered", "cut", "gone"])
def test_a_finished_file_that_was_changed_since_is_made_anew(damage: str, cluster: None, tmp_path: Path) -> None:
    file, out = finished(tmp_path, rows=4)
    part = out / "part-000001.jsonl"
    content = part.read_text()
    if damage == "gone":
        part.unlink()
    else:
        part.write_text(content.replace('"score": 0.', '"score": 0.9') if damage == "altered" else content[:-30])
    summary = rerank_files(file, out, Qwen3Reranker("demo"), partition_rows=2, actors=1)
    assert (summary.rows, summary.resumed, summary.redone) == (4, 1, 0 if damage == "gone" else 1)
    check_against_a_serial_run(some_requests(4), read_answers(out))


@pytest.mark.slow
def test_a_model_that_no_actor_can_load_is_the_error_that_it_is_anywhere(cluster: None, tmp_path: Path) -> None:
    reranker = Qwen3Reranker("nowhere/to-be-found", local_files_only=True)
    with pytest.raises(CheckpointNotFoundError, match="is not in the cache"):
        rerank_files(write_jsonl(tmp_path / "a.jsonl", some_requests(2)), tmp_path / "out", reranker, on_error="column")


@pytest.mark.slow
def test_what_does_not_fit_on_the_cluster_is_refused_instead_of_waited_for(cluster: None, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", some_requests(1))
    with pytest.raises(SettingsError, match="An actor of 1 GPUs and 1 CPUs fits on no node"):
        rerank_files(file, tmp_path / "out", Qwen3Reranker("demo"), gpus_per_actor=1)
    assert choose_pool(None, None, None, partitions=9).cpus == 2
    assert choose_pool(2, None, None, partitions=9).cpus == 1
    assert choose_pool(5, None, None, partitions=1) == choose_pool(None, None, None, partitions=9)


def finished(folder: Path, rows: int = 5) -> tuple[Path, Path]:
    """A job that is done, without a cluster: its answers are what an actor would have written."""
    file, out = write_jsonl(folder / "requests.jsonl", some_requests(rows)), folder / "out"
    files = [FORMATS[".jsonl"].split(file, 2)]
    out.mkdir()
    claim(out, manifest_of(files, 2, Qwen3Reranker("demo")))
    for partition in partitions_of(files):
        assert failure_of(run(partition, out)) is None
    return file, out


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "cluster", pytest.fail)


def test_a_job_that_is_done_starts_no_cluster_and_counts_again(no_cluster: None, tmp_path: Path) -> None:
    file, out = finished(tmp_path)
    summary = rerank_files(file, out, Qwen3Reranker("demo"), partition_rows=2)
    assert summary == Summary(rows=5, errors=0, partitions=3, resumed=3, redone=0, receipt=ScoringReport())


def test_no_requests_are_no_answers(no_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    summary = rerank_files(tmp_path / "a.jsonl", tmp_path / "out", Qwen3Reranker("demo"))
    assert summary == Summary(rows=0, errors=0, partitions=0, resumed=0, redone=0, receipt=ScoringReport())


@pytest.mark.parametrize("damage", ["missing", "cut", "doubled", "swapped", "another", "garbage"])
def test_a_file_that_lost_or_doubled_a_row_is_seen(damage: str, tmp_path: Path) -> None:
    file, out = finished(tmp_path)
    second = split(file, 2)[1]
    assert job.review(out, second, read_finished(out)) is not None
    answers = out / "part-000001.jsonl"
    one, two = answers.read_text().splitlines(keepends=True)
    if damage == "missing":
        answers.unlink()
    else:
        damaged = {
            "cut": one,
            "doubled": one + one,
            "swapped": two + one,
            "another": json.dumps({**json.loads(one), "row": 0}) + "\n" + two,
            "garbage": one + two[:-9],
        }
        answers.write_text(damaged[damage])
    assert job.review(out, second, read_finished(out)) is None


def test_a_job_whose_files_do_not_add_up_at_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actors that say that they are done, and a disk that has nothing of it."""
    done = {"rows": 2, **dataclasses.asdict(ScoringReport())}
    monkeypatch.setattr(job, "cluster", contextlib.nullcontext)
    monkeypatch.setattr(job, "choose_pool", lambda *_, partitions: None)
    monkeypatch.setattr(job, "_run", lambda missing, *_: iter([dict(done) for _ in missing]))
    file = write_jsonl(tmp_path / "a.jsonl", some_requests(6))
    with pytest.raises(BatchError, match="3 of 3 files do not hold one answer for each row"):
        rerank_files(file, tmp_path / "out", Qwen3Reranker("demo"), partition_rows=2)
