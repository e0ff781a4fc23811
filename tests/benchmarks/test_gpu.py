"""`python -m benchmarks.gpu` in its smallest form, and with parts that fail, hang, crash and do not fit."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts.isolation import Part, PartResults, run_part, run_parts
from benchmarks.gpu_parts.parts import parts_for
from benchmarks.gpu_parts.stage import Item, Stage
from qwen3_rerank_plugins.errors import MissingExtraError

pytestmark = pytest.mark.slow

NAMES = ["check", "kernels", "attention", "quantization", "profile", "memory", "independence", "loading", "latency"]


def good(stage: Stage) -> Iterator[Item]:
    yield "one", lambda: 1
    yield "process", os.getpid


def failing(stage: Stage) -> Iterator[Item]:
    yield "first", lambda: 1
    yield "broken", lambda: 1 / 0
    yield "absent", functools.partial(_raise, MissingExtraError("torchao", "fp8"))
    yield "last", lambda: 2


def unprepared(stage: Stage) -> Iterator[Item]:
    yield "first", lambda: 1
    raise OSError("no space left on device")


def crashing(stage: Stage) -> Iterator[Item]:
    yield "first", lambda: 1
    yield "crash", lambda: os._exit(3)


def hanging(stage: Stage) -> Iterator[Item]:
    yield "first", lambda: 1
    yield "hang", lambda: time.sleep(600)


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "cpu", ("tiny",), ("small",), 1)


def test_a_failing_measurement_is_recorded_and_the_next_one_runs(stage: Stage) -> None:
    found = run_part(Part("planted", 1, failing), stage, 60)
    assert found.status == "failed"
    assert found.results["first"] == 1
    assert found.results["broken"] == {"error": "ZeroDivisionError: division by zero"}
    assert "torchao" in found.results["absent"]["unavailable"]
    assert found.results["last"] == 2


def test_a_part_that_raises_or_crashes_keeps_what_it_measured(stage: Stage) -> None:
    raised = run_part(Part("planted", 1, unprepared), stage, 60)
    assert (raised.status, raised.error, raised.results) == ("failed", "OSError: no space left on device", {"first": 1})
    crashed = run_part(Part("planted", 1, crashing), stage, 60)
    assert (crashed.status, crashed.error) == ("failed", "the process ended with exit code 3")
    assert crashed.results == {"first": 1}


def test_a_part_ends_at_its_limit_and_the_next_one_runs_in_another_process(stage: Stage) -> None:
    saved: list[list[PartResults]] = []
    parts = [Part("hanging", 0.01, hanging), Part("good", 0.9, good)]
    run_parts(parts, stage, 600, lambda found: saved.append([*found]))
    assert [len(found) for found in saved] == [1, 2]  # saved after each part
    hung, done = saved[-1]
    assert hung.status == "out of time"
    assert hung.results in ({}, {"first": 1})  # a busy machine may take longer to start the process
    assert (done.status, done.results["one"]) == ("done", 1)
    assert done.results["process"] != os.getpid()


def test_what_no_longer_fits_is_skipped(stage: Stage) -> None:
    saved: list[PartResults] = []
    run_parts([Part("good", 1, good)], stage, 1, lambda found: saved.__setitem__(slice(None), found))
    assert [(one.status, one.results) for one in saved] == [("skipped", {})]


def test_time_that_a_part_leaves_goes_to_the_next(stage: Stage) -> None:
    saved: list[PartResults] = []
    parts = [Part("first", 0.5, good), Part("second", 0.5, good)]
    run_parts(parts, stage, 240, lambda found: saved.__setitem__(slice(None), found))
    assert saved[0].limit == 120
    assert saved[1].limit > 120


def test_every_part_is_there_and_the_shares_fill_the_time() -> None:
    shapes = ("8b", "4b", "0.6b")
    parts = parts_for(shapes)
    speeds = [f"speed-{shape}-{dtype}" for dtype in ("bfloat16", "float16") for shape in shapes]
    assert [part.name for part in parts] == [NAMES[0], *speeds, *NAMES[1:], "gemm"]
    assert sum(part.share for part in parts) == pytest.approx(1.0, abs=0.05)


def test_the_record_is_written_and_a_failed_part_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "parts_for", lambda _: [Part("planted", 0.5, failing), Part("good", 0.5, good)])
    out = tmp_path / "deep" / "record.json"
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu", "--shapes", "tiny", "--minutes", "4", "--out", str(out)])
    assert ended.value.code == 1
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["study"] == "gpu"
    assert record["circumstances"]["device"].startswith("CPU")
    assert [part["status"] for part in record["results"]["parts"]] == ["failed", "done"]
    assert [path.name for path in out.parent.iterdir()] == ["record.json"]


@pytest.mark.slow
def test_parts_measure_a_tiny_shape_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    tiny = ["--device", "cpu", "--shapes", "tiny", "--workloads", "small", "--rounds", "1"]
    with pytest.raises(SystemExit) as ended:
        gpu.main([*tiny, "--parts", "kernels,profile,memory,loading,latency", "--out", str(out)])
    parts: dict[str, Any] = {part["name"]: part for part in json.loads(out.read_text("utf-8"))["results"]["parts"]}
    assert ended.value.code == 0, parts
    assert parts["kernels"]["results"]["default"]["workloads"]["small"]["difference"]["largest_difference"] == 0
    assert parts["profile"]["results"]["small"]["launches"] > 0
    assert parts["memory"]["results"]["small"]["predicted"] > 0
    assert parts["loading"]["results"]["tiny"][0]["seconds"] > 0
    assert parts["latency"]["results"]["tiny"]["p95"] >= parts["latency"]["results"]["tiny"]["p50"] > 0


@pytest.mark.parametrize(
    "options", [("--shapes", "9b"), ("--workloads", "none"), ("--parts", "no such part"), ("--device", "cpu")]
)
def test_a_wrong_name_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    arguments = options if options[0] == "--device" else (*options, "--out", str(tmp_path / "record.json"))
    with pytest.raises(SystemExit) as ended:
        gpu.main(arguments)
    assert ended.value.code == 2
