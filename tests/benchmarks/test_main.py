"""`python -m benchmarks`: every study from its options to its record and tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks.__main__ import MEASUREMENTS, StudyName
from benchmarks.report import TABLES, grids_of
from qwen3_rerank_plugins.bench.report import as_markdown
from qwen3_rerank_plugins.bench.studies import Study, run_study
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_every_study_has_a_measurement_and_tables() -> None:
    assert set(get_args(StudyName)) == set(MEASUREMENTS) == set(TABLES)


@pytest.mark.parametrize("name", ["savings", "choices", "profile", "together", "quantization"])
def test_a_study_writes_a_record_whose_tables_can_be_printed(name: str, subject: Subject, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command.main)
    out = tmp_path / "deep" / "record.json"
    engine = ["--device", "cpu", "--dtype", "float32", "--model", str(subject.folder)]
    options = [*engine, "--workload", "small", "--rounds", "1", "--out", str(out)]
    done = CliRunner().invoke(app, [name, *options])
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["study"] == name
    for grid in grids_of(record):
        assert all(len(row) == len(grid.header) for row in grid.rows)
        assert len(as_markdown(grid).splitlines()) == len(grid.rows) + 2
        assert grid.title.split()[0] in done.output


def test_an_error_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "windows", "--model", "demo", "--device", "cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "name them with --texts".lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


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
    record = run_study(study, told.append, MEASUREMENTS)
    rows = {(row["long_documents"], row["max_length"]): row for row in record["results"]["rows"]}
    assert [found["first"] for found in rows["truncate", 256]["found"]] == [1, 0]
    assert [found["first"] for found in rows["windows", 256]["found"]] == [1, 1]
    assert rows["truncate", 256]["cut"] > 0 == rows["windows", 256]["cut"] == rows["truncate", 32768]["cut"]
    (grid,) = grids_of(record)
    assert [row[0] for row in grid.rows] == ["truncate", "windows"] * 3 + ["whole"]


def test_the_study_of_windows_needs_judged_sets() -> None:
    study = Study(name="windows", engine=EngineSettings(device="cpu"), model="demo")
    with pytest.raises(SettingsError, match="Name them with --texts"):
        run_study(study, lambda _: None, MEASUREMENTS)
