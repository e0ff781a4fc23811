"""Studies of speed and memory: record, tables and picture."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins._records.processor import find_processor
from qwen3_rerank_plugins._records.record import describe, make_record, note_circumstances, show_size, write_record
from qwen3_rerank_plugins.bench.picture import draw_speed
from qwen3_rerank_plugins.bench.report import as_markdown, grids_of
from qwen3_rerank_plugins.bench.stopwatch import Spread
from qwen3_rerank_plugins.bench.studies import Study, run_study
from qwen3_rerank_plugins.bench.subject import Subject, open_subject
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError
from tests.optional import need


@pytest.mark.filterwarnings("default")  # warnings of other packages
def test_a_study_gives_a_record_whose_tables_can_be_printed(subject: Subject, told: list[str], tmp_path: Path) -> None:
    need("sentence_transformers")
    engine = EngineSettings(device="cpu", dtype="float32")
    study = Study(name="speed", engine=engine, model=str(subject.folder), workloads=("small",), rounds=1)
    record = run_study(study, told.append)
    write_record(tmp_path / "deep" / "record.json", record)
    assert json.loads((tmp_path / "deep" / "record.json").read_text(encoding="utf-8")) == record
    assert record["study"] == "speed"
    for grid in grids_of(record):
        assert all(len(row) == len(grid.header) for row in grid.rows)
        assert len(as_markdown(grid).splitlines()) == len(grid.rows) + 2
    assert told
    rows = record["results"]["workloads"][0]["rows"]
    assert [row["peer"] for row in rows] == ["ours", "st", "card-last", "card"]
    assert all(row["largest_difference"] < 1e-3 for row in rows)
    draw_speed(record, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_says_what_its_figures_depend_on() -> None:
    around = note_circumstances("a subject", torch.device("cpu"), torch.float32)
    record = make_record("speed", around, {"seconds": Spread(1.23456789, 1.0, 2.0), "nothing": None})
    assert record["results"] == {"seconds": {"median": 1.235, "lowest": 1.0, "highest": 2.0}, "nothing": None}
    assert record["circumstances"]["packages"]["torch"] == torch.__version__
    assert re.fullmatch(r"[0-9a-f]{12}\+?", around.commit or "0" * 12)
    assert "a subject; float32 on CPU" in describe(record)
    assert find_processor().name in describe(record)


def test_an_earlier_record_without_a_processor_can_be_described() -> None:
    record = make_record("speed", note_circumstances("a subject", torch.device("cpu"), torch.float32), {})
    del record["circumstances"]["processor"]
    assert "a subject; float32 on CPU, x86_64, " in describe(record).replace(platform.machine(), "x86_64")


def test_an_unknown_workload_is_refused_before_anything_is_made() -> None:
    with pytest.raises(SettingsError, match="There is no workload 'huge'; there are passages, chunks, long"):
        Study(name="speed", engine=EngineSettings(), workloads=("huge",))


def test_an_unknown_baseline_is_refused(subject: Subject) -> None:
    study = Study(name="speed", engine=EngineSettings(device="cpu"), model=str(subject.folder), baselines=("cohere",))
    with pytest.raises(SettingsError, match="The baseline 'cohere' is not installed here; there are ours"):
        run_study(study, lambda _: None)


@pytest.mark.slow
def test_a_random_model_of_a_published_shape_is_made_and_deleted() -> None:
    with open_subject(None, "0.6b", 1, torch.bfloat16, None) as subject:
        assert subject.label == "0.6b, 1 of 28 layers, random weights"
        assert (subject.shape.hidden, subject.shape.layers) == (1024, 1)
        stored = sum(file.stat().st_size for file in subject.folder.glob("*.safetensors"))
        assert abs(stored - subject.shape.weight_bytes(torch.bfloat16)) < 100_000
    assert not subject.folder.exists()


@pytest.mark.parametrize(("count", "shown"), [(None, ""), (2**20, "1 MiB"), (3 * 2**30, "3.00 GiB")])
def test_sizes_are_written_for_people(count: int | None, shown: str) -> None:
    assert show_size(count) == shown
