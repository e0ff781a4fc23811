"""A partition's file is written completely or not at all, with the other fields of its requests. Errors are data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import BatchError, PassError, RequestError
from qwen3_rerank_plugins.ray.partition_ranker import (
    FORMATS,
    MOST_ATTEMPTS,
    PartitionRanker,
    answers_file,
    failure_of,
)
from qwen3_rerank_plugins.ray.source import Partition, partitions_of
from tests.doubles import OverlapScorer
from tests.requests import read_answers, some_requests, write_jsonl


def split(file: Path, rows: int = 99) -> list[Partition]:
    return partitions_of([FORMATS[file.suffix].split(file, rows)])


def run(
    partition: Partition, folder: Path, scorer: Any = None, on_error: Any = "raise", **settings: Any
) -> dict[str, Any]:
    """One partition, as Ray hands it over; what the actor tells of it."""
    folder.mkdir(exist_ok=True)
    reranker = Qwen3Reranker(**{"model": "demo", **settings}, scorer=scorer)
    batch = pa.Table.from_pylist([dataclasses.asdict(partition)])
    (report,) = PartitionRanker(reranker, on_error, str(folder), "run")(batch).to_pylist()
    return report


def test_answers_carry_the_rows_names_and_are_the_facades(tmp_path: Path) -> None:
    rows = some_requests(7)
    for partition in split(write_jsonl(tmp_path / "a.jsonl", rows), 3):
        report = run(partition, tmp_path / "out")
        assert (report["rows"], report["documents"]) == (partition.rows, 6 * partition.rows)
        assert failure_of(report) is None
    answers = read_answers(tmp_path / "out")
    serial = Qwen3Reranker("demo")
    assert [(answer["row"], answer["query_id"]) for answer in answers] == [(n, f"q{n}") for n in range(7)]
    for row, answer in zip(rows, answers, strict=True):
        expected = serial.rank(row["query"], [candidate["text"] for candidate in row["candidates"]])
        assert [(found["doc_id"], found["logit"]) for found in answer["results"]] == [
            (f"d{found.index}", pytest.approx(found.logit, abs=1e-4)) for found in expected
        ]


def test_whatever_else_a_line_carries_goes_along_untouched(tmp_path: Path) -> None:
    extra = {"id": 7, "tenant": {"name": "é", "tags": [1, None]}, "weight": 1e-30}
    row = {"query": "the sea", "documents": ["the sea", "honey"], "instruction": "Find", **extra}
    (partition,) = split(write_jsonl(tmp_path / "a.jsonl", [row]))
    run(partition, tmp_path / "out", OverlapScorer())
    (answer,) = read_answers(tmp_path / "out")
    assert answer == {"row": 0, **extra, "results": answer["results"], "error": None}
    assert [found["index"] for found in answer["results"]] == [0, 1]


def test_columns_of_a_table_keep_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([5, None], pa.int16()),
            "query": pa.array(["the sea", "honey"], pa.large_string()),
            "when": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "candidates": pa.array(
                [[{"doc_id": 3, "text": "the sea"}], []],
                pa.list_(pa.struct([("doc_id", pa.int32()), ("text", pa.string())])),
            ),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (partition,) = split(tmp_path / "a.parquet")
    run(partition, tmp_path / "out", OverlapScorer())
    answers = pq.read_table(answers_file(tmp_path / "out", partition))
    assert answers.column_names == ["row", "id", "when", "results", "error"]
    assert answers.select(["id", "when"]) == table.select(["id", "when"])
    first, second = answers.to_pylist()
    assert (first["results"][0]["doc_id"], second["results"]) == (3, [])
    assert answers.schema.field("results").type.value_type.field("doc_id").type == pa.int32()


def bad_rows(folder: Path) -> Path:
    file = write_jsonl(folder / "a.jsonl", [*some_requests(2), {"query": 1, "documents": [], "id": "bad"}])
    with file.open("ab") as stream:
        stream.write(b"nonsense\n\xff\n" + json.dumps({"query": "", "documents": [], "row": 9}).encode() + b"\n")
    return file


def test_rows_that_cannot_be_ranked_or_even_read_have_their_error_and_no_other_row_suffers(tmp_path: Path) -> None:
    (partition,) = split(bad_rows(tmp_path))
    assert failure_of(run(partition, tmp_path / "out", on_error="column")) is None
    answers = read_answers(tmp_path / "out")
    assert [answer["row"] for answer in answers] == list(range(6))
    assert [answer["results"] is None for answer in answers] == [False, False, True, True, True, True]
    assert answers[2]["id"] == "bad"
    for answer, says in zip(
        answers[2:], ["must be a string", "not a JSON object", "not UTF-8", "field 'row'"], strict=True
    ):
        assert says in answer["error"]
    assert FORMATS[".jsonl"].review(answers_file(tmp_path / "out", partition).read_bytes()).errors == 4


def test_else_the_first_of_them_is_what_the_job_fails_with_and_no_file_is_left(tmp_path: Path) -> None:
    (partition,) = split(bad_rows(tmp_path))
    failure = failure_of(run(partition, tmp_path / "out"))
    assert type(failure) is RequestError
    assert "a.jsonl line " in str(failure)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["_model.json"]


def test_what_breaks_the_model_travels_as_it_is(tmp_path: Path) -> None:
    (partition,) = split(write_jsonl(tmp_path / "a.jsonl", some_requests(2)))
    failure = failure_of(run(partition, tmp_path / "out", OverlapScorer(PassError("The device is lost.")), "column"))
    assert type(failure) is PassError
    assert list((tmp_path / "out").iterdir()) == []


def test_a_node_that_does_not_see_the_folders_says_so(tmp_path: Path) -> None:
    (partition,) = split(write_jsonl(tmp_path / "a.jsonl", some_requests(1)))
    (tmp_path / "a.jsonl").unlink()
    failure = failure_of(run(partition, tmp_path / "out", OverlapScorer()))
    assert isinstance(failure, BatchError)
    assert "every node must see requests, answers and a local model" in str(failure)


def test_a_partition_that_killed_actors_again_and_again_stops_the_job(tmp_path: Path) -> None:
    (partition,) = split(write_jsonl(tmp_path / "a.jsonl", some_requests(1)))
    out = tmp_path / "out"
    out.mkdir()
    for attempt in range(MOST_ATTEMPTS):
        assert failure_of(run(partition, out, OverlapScorer())) is None
        answers_file(out, partition).unlink()
        (out / f".part-000000.jsonl.another-run.{attempt}").touch()  # of a run that is over
        (out / f".part-000000.jsonl.run.{attempt}").touch()  # what an actor leaves that is killed
    failure = failure_of(run(partition, out, OverlapScorer()))
    assert isinstance(failure, BatchError)
    assert f"{MOST_ATTEMPTS} actors were killed in a row while working on part-000000.jsonl" in str(failure)
