"""Memory: parameters counted exactly, budgets within their limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine import budget
from qwen3_rerank_plugins.engine.budget import (
    LARGEST_AUTO_BUDGET,
    SMALLEST_AUTO_BUDGET,
    Shape,
    auto_budget,
    cgroup_memory,
    choose_budget,
    free_memory,
)
from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.weights import load_model
from tests.checkpoints import SHAPES

PUBLISHED = {"0.6b": 595_776_512, "4b": 4_021_784_576, "8b": 8_188_548_096}


@pytest.mark.parametrize(("size", "parameters"), PUBLISHED.items())
def test_parameters_of_the_published_shapes_are_the_published_numbers(size: str, parameters: int, data: Path) -> None:
    config = json.loads((data / "configs" / f"qwen3-reranker-{size}.config.json").read_text(encoding="utf-8"))
    assert Shape.from_config(config).parameters == parameters


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_that_get_loaded(shape: str, checkpoint: Callable[[str], Path]) -> None:
    settings = EngineSettings(model=str(checkpoint(shape)))
    loaded = load_model(settings, find_checkpoint(settings))
    counted = Shape.from_config(loaded.causal_lm.config.to_dict())
    assert counted.parameters == sum(parameter.numel() for parameter in loaded.causal_lm.parameters())
    assert choose_budget(123, loaded) == 123
    assert SMALLEST_AUTO_BUDGET <= choose_budget("auto", loaded) <= LARGEST_AUTO_BUDGET


def test_the_auto_budget_follows_free_memory_within_its_limits(data: Path) -> None:
    config = json.loads((data / "configs" / "qwen3-reranker-8b.config.json").read_text(encoding="utf-8"))
    shape = Shape.from_config(config)
    gibibyte = 2**30
    budgets = [auto_budget(shape, torch.bfloat16, free) for free in (0, gibibyte, 2 * gibibyte, 80 * gibibyte)]
    assert budgets == sorted(budgets)
    assert budgets[0] == SMALLEST_AUTO_BUDGET
    assert SMALLEST_AUTO_BUDGET < budgets[1] < budgets[2] < LARGEST_AUTO_BUDGET
    assert budgets[3] == LARGEST_AUTO_BUDGET


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
