"""`python -m benchmarks.cpu_threads` in its smallest form."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from benchmarks.cpu_threads import busy_neighbors, main


def test_every_setting_of_threads_is_timed_and_recorded(tmp_path: Path) -> None:
    out = tmp_path / "threads.json"
    main(["--models", "demo", "--neighbors", "0", "--seconds", "0", "--out", str(out)])
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["study"] == "threads"
    cores = record["results"]["cores"]
    calls = record["results"]["calls"]
    asked = [(call["setting"]["threads"], call["setting"]["waiting"]) for call in calls]
    assert asked == ([(1, ""), (1, "")] if cores == 1 else [(1, ""), (cores, ""), (cores, "PASSIVE")])
    assert all(call["seconds"]["median"] > 0 for call in calls)


def test_neighbors_end_with_their_block() -> None:
    before = set(psutil.Process().children())
    with busy_neighbors(1):
        (neighbor,) = set(psutil.Process().children()) - before
        assert neighbor.is_running()
    assert not neighbor.is_running()


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--models", "unknown"])
