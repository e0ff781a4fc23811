"""A real control group, where the kernel kills whoever takes too much: a pass that does not fit is refused before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine import control_groups

LIMIT = 520 * 2**20
PROGRAM = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from qwen3_rerank_plugins import DeviceMemoryError, Qwen3Reranker
from qwen3_rerank_plugins.engine.control_groups import cgroup_memory
assert cgroup_memory() < 520 * 2**20
reranker = Qwen3Reranker("demo", device="cpu", max_length=32_768)
for sentences in (200, 3_300):
    try:
        reranker.rank("When did the river rise?", ["The river rose by three meters in the night. " * sentences])
        print("ranked")
    except DeviceMemoryError as error:
        print("refused:", error)
print(len(reranker.rank("When did the river rise?", ["At night.", "Never."])))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of this test, in either version, with a limit on memory."""
    for top, limit in (("memory", "memory.limit_in_bytes"), ("unified", "memory.max"), ("", "memory.max")):
        folder = control_groups.MOUNT / top / f"qwen3-rerank-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(LIMIT))
        except OSError:
            folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("no control group with a limit on memory can be made here")


@pytest.mark.slow
def test_a_document_too_long_for_the_container_is_refused_and_the_process_lives(group: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(group)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    short, long, after = done.stdout.splitlines()
    assert (short, after) == ("ranked", "2")
    assert long.startswith("refused: A batch of 32,768 tokens needs about")
