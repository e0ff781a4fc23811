"""Studies from their words to record, tables and picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins._records import make_record, note_circumstances, write_record
from qwen3_rerank_plugins.bench.picture import draw_speed
from qwen3_rerank_plugins.bench.report import as_markdown, describe, grids_of, size
from qwen3_rerank_plugins.bench.stopwatch import Spread
from qwen3_rerank_plugins.bench.studies import Study, run_study
from qwen3_rerank_plugins.bench.subject import Subject, open_subject
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError
from tests.optional import need


@pytest.mark.filterwarnings("default")  # what the peers warn about is theirs to mend
@pytest.mark.parametrize("name", ["speed", "savings", "choices", "profile", "together", "quantization"])
def test_a_study_gives_a_record_whose_tables_can_be_printed(
    name: str, subject: Subject, told: list[str], tmp_path: Path
) -> None:
    if name == "speed":
        need("sentence_transformers")
    engine = EngineSettings(device="cpu", dtype="float32")
    study = Study(name=name, engine=engine, model=str(subject.folder), workloads=("small",), rounds=1)  # type: ignore[arg-type]
    record = run_study(study, told.append)
    write_record(tmp_path / "deep" / "record.json", record)
    assert json.loads((tmp_path / "deep" / "record.json").read_text(encoding="utf-8")) == record
    assert record["study"] == name
    for grid in grids_of(record):
        assert all(len(row) == len(grid.header) for row in grid.rows)
        assert len(as_markdown(grid).splitlines()) == len(grid.rows) + 2
    assert told
    if name == "speed":
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


def test_an_unknown_workload_is_refused_before_anything_is_made() -> None:
    with pytest.raises(SettingsError, match="There is no workload 'huge'; there are passages, chunks, long"):
        Study(name="speed", engine=EngineSettings(), workloads=("huge",))


def test_an_unknown_peer_is_refused(subject: Subject) -> None:
    study = Study(name="speed", engine=EngineSettings(device="cpu"), model=str(subject.folder), peers=("cohere",))
    with pytest.raises(SettingsError, match="The peer 'cohere' is not installed here; there are ours"):
        run_study(study, lambda _: None)


def test_a_random_model_of_a_published_shape_is_made_and_deleted() -> None:
    with open_subject(None, "0.6b", 1, torch.bfloat16, None) as subject:
        assert subject.label == "0.6b, 1 of 28 layers, random weights"
        assert (subject.shape.hidden, subject.shape.layers) == (1024, 1)
        stored = sum(file.stat().st_size for file in subject.folder.glob("*.safetensors"))
        assert abs(stored - subject.shape.weight_bytes(torch.bfloat16)) < 100_000
    assert not subject.folder.exists()


@pytest.mark.parametrize(("count", "shown"), [(None, ""), (2**20, "1 MiB"), (3 * 2**30, "3.00 GiB")])
def test_sizes_are_written_for_people(count: int | None, shown: str) -> None:
    assert size(count) == shown


def test_the_study_of_windows_counts_what_a_cut_loses(tmp_path: Path, told: list[str]) -> None:
    filler = "The weather was fine all week and nothing else happened. " * 90
    needle = "The capital of China is Beijing. "
    candidates = {"begin": needle + filler, "end": filler + needle}
    lines = [
        json.dumps(
            {
                "query_id": f"q-{place}-1",
                "query": "What is the capital of China?",
                "candidates": [{"text": filler, "relevance": 0}, {"text": text, "relevance": 1}],
            }
        )
        for place, text in candidates.items()
    ]
    (tmp_path / "long.jsonl").write_text("\n".join(lines), encoding="utf-8")
    engine = EngineSettings(device="cpu", dtype="float32")
    study = Study(name="windows", engine=engine, model="demo", texts=(tmp_path / "long.jsonl",))
    record = run_study(study, told.append)
    rows = {(row["long_documents"], row["max_length"]): row for row in record["results"]["rows"]}
    assert [found["first"] for found in rows["truncate", 256]["found"]] == [1, 0]
    assert [found["first"] for found in rows["windows", 256]["found"]] == [1, 1]
    assert rows["truncate", 256]["cut"] > 0 == rows["windows", 256]["cut"] == rows["truncate", 32768]["cut"]
    (grid,) = grids_of(record)
    assert [row[0] for row in grid.rows] == ["truncate", "windows"] * 3 + ["whole"]


def test_the_study_of_windows_needs_judged_sets() -> None:
    study = Study(name="windows", engine=EngineSettings(device="cpu"), model="demo")
    with pytest.raises(SettingsError, match="name them with --texts"):
        run_study(study, lambda _: None)
