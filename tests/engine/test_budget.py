"""Memory: parameters counted exactly, budgets within their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine import budget
from qwen3_rerank_plugins.engine.budget import (
    LARGEST_AUTO_BUDGET,
    SMALLEST_AUTO_BUDGET,
    auto_budget,
    cgroup_memory,
    choose_budget,
    free_memory,
)
from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.shape import PUBLISHED
from qwen3_rerank_plugins.engine.weights import load_model


def test_a_budget_that_was_asked_for_is_taken_and_the_automatic_one_is_within_its_limits(
    checkpoint: Callable[[str], Path],
) -> None:
    settings = EngineSettings(model=str(checkpoint("grouped")))
    loaded = load_model(settings, find_checkpoint(settings))
    assert choose_budget(123, loaded) == 123
    assert SMALLEST_AUTO_BUDGET <= choose_budget("auto", loaded) <= LARGEST_AUTO_BUDGET


@pytest.mark.parametrize("rows_at_once", [None, 1024])
def test_the_auto_budget_is_the_largest_pass_that_half_of_free_memory_holds(rows_at_once: int | None) -> None:
    shape, gibibyte = PUBLISHED["Qwen/Qwen3-Reranker-8B"], 2**30
    free = (0, gibibyte // 2, gibibyte, 80 * gibibyte)
    budgets = [auto_budget(shape, torch.bfloat16, rows_at_once, bytes_free) for bytes_free in free]
    assert budgets == sorted(budgets)
    assert budgets[0] == SMALLEST_AUTO_BUDGET
    assert budgets[3] == LARGEST_AUTO_BUDGET
    for bytes_free, tokens in list(zip(free, budgets, strict=True))[1:3]:
        assert shape.pass_bytes(tokens, torch.bfloat16, rows_at_once) <= bytes_free / 2
        assert shape.pass_bytes(tokens + 1, torch.bfloat16, rows_at_once) > bytes_free / 2


def test_free_memory_of_the_cpu_is_a_positive_number() -> None:
    assert free_memory(torch.device("cpu")) > 0


def test_free_memory_of_the_cpu_stays_below_the_limit_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "cgroup_memory", lambda: 4321)
    assert free_memory(torch.device("cpu")) == 4321
    monkeypatch.setattr(budget, "cgroup_memory", lambda: math.inf)
    assert 4321 < free_memory(torch.device("cpu")) < math.inf


class Cgroups:
    """What Linux shows of control groups, in a folder: the process is in /outer/own."""

    def __init__(self, folder: Path, membership: str) -> None:
        self.mount, self.membership = folder / "mount", folder / "membership"
        self.membership.write_text(membership, encoding="utf-8")

    def write(self, group: str, **files: object) -> None:
        (self.mount / group).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.mount / group / name.replace("__", ".")).write_text(f"{content}\n", encoding="utf-8")

    @property
    def free(self) -> float:
        return cgroup_memory(self.membership, self.mount)


def test_the_tightest_limit_of_a_cgroup_and_its_parents_counts(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "0::/outer/own\n")
    assert cgroups.free == math.inf
    cgroups.write("outer/own", memory__max="max", memory__current=70)
    assert cgroups.free == math.inf
    cgroups.write("outer", memory__max=1000, memory__current=300, memory__stat="anon 5\ninactive_file 100")
    assert cgroups.free == 1000 - 300 + 100, "cache that can be dropped is free"
    cgroups.write("outer/own", memory__max=400, memory__current=70, memory__stat="inactive_file 0")
    assert cgroups.free == 330
    cgroups.write("outer/own", memory__current=500)
    assert cgroups.free == 0


def test_a_container_that_sees_only_its_own_cgroup_finds_the_limit_at_the_top(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "0::/a/path/of/the/host\n")
    cgroups.write("", memory__max=1000, memory__current=300, memory__stat="inactive_file 0")
    assert cgroups.free == 700


def test_the_first_version_of_cgroups_is_read_as_well(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "5:cpu,cpuacct:/other\n4:memory:/own\n0::/\n")
    cgroups.write(
        "memory/own",
        memory__limit_in_bytes=1000,
        memory__usage_in_bytes=300,
        memory__stat="inactive_file 1\ntotal_inactive_file 200",
    )
    assert cgroups.free == 900


def test_where_there_are_no_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_memory(tmp_path / "nothing", tmp_path) == math.inf
