"""The tables of the GPU's records: rows are as wide as headers, and each figure is in the column of its dtype."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu_sizing import RECORDS
from benchmarks.gpu_tables import TABLES
from qwen3_rerank_plugins._records.record import Grid, Record


def read(name: str) -> Record:
    record: Record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def grids(name: str) -> list[Grid]:
    record = read(name)
    return TABLES[record["study"]](record["results"])


@pytest.mark.parametrize("name", ["gpu-probe-8b", "gpu-check-8b", "gpu-sizing"])
def test_every_row_is_as_wide_as_its_header(name: str) -> None:
    for grid in grids(name):
        assert grid.rows
        assert all(len(row) == len(grid.header) for row in grid.rows), grid.title


def test_kernels_are_counted_by_kind_and_the_rest_is_what_remains_of_their_time() -> None:
    rows = [["nvjet_a", 4.0, 1], ["flash_fwd_kernel", 3.0, 1], ["nvjet_b", 2.0, 2], ["silu", 1.0, 1]]
    profile = {"one": {"rows": rows, "kernels": 11.0, "launches": 1_234}}
    _, kernels = TABLES["gpu-probe"]({**read("gpu-probe-8b")["results"], "profile": profile})
    assert kernels.rows == (("one", "6 ms", "3 ms", "2 ms", "1,234"),)


def test_a_check_of_the_large_shape_without_a_dtype_belongs_to_the_one_named_last() -> None:
    checks = [
        {"name": "bfloat16, one prefix: RMS", "value": 1.0},
        {"name": "bfloat16, large: weights", "value": 2.0},
        {"name": "large: batches", "value": 3.0},
        {"name": "float16, one prefix: RMS", "value": 4.0},
        {"name": "float16, large: weights", "value": 5.0},
        {"name": "large: batches", "value": 6.0},
    ]
    small, large = TABLES["gpu-check"]({"checks": checks})
    assert small.header == ("documents", "RMS, bfloat16", "RMS, float16")
    assert small.rows == (("one prefix", "1", "4"),)
    assert large.header == ("check", "bfloat16", "float16")
    assert large.rows == (("weights", "2", "5"), ("batches", "3", "6"))


def test_the_record_of_checks_has_no_figure_that_compared_different_orders() -> None:
    names = [check["name"] for check in read("gpu-check-8b")["results"]["checks"]]
    assert [name for name in names if "varlen against float32" in name or "in company" in name] == []
    assert [name for name in names if "all documents" in name] == []
