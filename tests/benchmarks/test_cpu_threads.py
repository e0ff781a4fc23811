"""`python -m benchmarks.cpu_threads` in its smallest form."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from benchmarks.cpu_threads import busy_neighbors, main


def test_a_setting_is_timed_in_its_process_and_recorded(tmp_path: Path) -> None:
    out = tmp_path / "threads.json"
    # one thread: several would wait for each other on a busy machine, which is what the program measures
    main(["--models", "demo", "--neighbors", "0", "--threads", "1", "--seconds", "0", "--out", str(out)])
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["study"] == "threads"
    (call,) = record["results"]["calls"]
    assert (call["setting"]["subject"], call["setting"]["threads"]) == ("demo", 1)
    assert call["seconds"]["median"] > 0


def test_neighbors_end_with_their_block() -> None:
    before = set(psutil.Process().children())
    with busy_neighbors(1):
        (neighbor,) = set(psutil.Process().children()) - before
        assert neighbor.is_running()
    assert not neighbor.is_running()


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--models", "unknown"])
