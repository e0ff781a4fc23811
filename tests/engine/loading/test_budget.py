"""Memory: parameters counted exactly, budgets within their limits."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine import memory
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.control_groups import cgroup_memory
from qwen3_rerank_plugins.engine.loading import budget
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import (
    LARGEST_AUTO_BUDGET,
    SMALLEST_AUTO_BUDGET,
    MemoryCheck,
    auto_budget,
    check_weights_fit,
    choose_budget,
)
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.memory import free_memory
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import DeviceMemoryError


def test_a_budget_that_was_asked_for_is_taken_and_the_automatic_one_is_within_its_limits(
    checkpoint: Callable[[str], Path],
) -> None:
    settings = EngineSettings(model=str(checkpoint("grouped")))
    loaded = load_model(settings, find_checkpoint(settings))
    assert choose_budget(123, loaded) == 123
    assert SMALLEST_AUTO_BUDGET <= choose_budget("auto", loaded) <= LARGEST_AUTO_BUDGET


@pytest.mark.parametrize(("device", "rows_at_once"), [("cpu", None), ("cpu", 1024), ("cuda", None)])
def test_the_auto_budget_is_the_largest_pass_that_half_of_free_memory_holds(
    device: str, rows_at_once: int | None
) -> None:
    gibibyte = 2**30
    memory = BatchMemory(PUBLISHED["Qwen/Qwen3-Reranker-8B"], torch.bfloat16, device, rows_at_once)
    free = (0, gibibyte // 2, gibibyte, 80 * gibibyte)
    budgets = [auto_budget(memory, bytes_free) for bytes_free in free]
    assert budgets == sorted(budgets)
    assert budgets[0] == SMALLEST_AUTO_BUDGET
    assert budgets[3] == LARGEST_AUTO_BUDGET
    for bytes_free, tokens in list(zip(free, budgets, strict=True))[1:3]:
        assert memory.bytes(tokens) <= bytes_free / 2
        assert memory.bytes(tokens + 1) > bytes_free / 2


def test_free_memory_of_the_cpu_is_a_positive_number() -> None:
    assert free_memory(torch.device("cpu")) > 0


def test_free_memory_of_the_cpu_stays_below_the_limit_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cgroup_memory", lambda: 4321)
    assert free_memory(torch.device("cpu")) == 4321
    monkeypatch.setattr(memory, "cgroup_memory", lambda: math.inf)
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


def test_memory_high_counts_as_well_as_memory_max(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "0::/own\n")
    cgroups.write("own", memory__max="max", memory__high=500, memory__current=300)
    assert cgroups.free == 200, "without a memory.stat nothing can be dropped"


def test_of_both_versions_the_one_that_limits_memory_counts(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "7:memory:/own\n1:name=systemd:/x\n0::/own\n")
    cgroups.write("unified/own", cgroup__procs="1")
    cgroups.write("memory/own", memory__limit_in_bytes=1000, memory__usage_in_bytes=400)
    assert cgroups.free == 600


@pytest.mark.parametrize("membership", ["", "no colons\n", "0:\n", "0::\n", ":::\n", "0::/../../..\n", "\x00\n"])
def test_a_membership_of_another_form_sets_no_limit(membership: str, tmp_path: Path) -> None:
    assert Cgroups(tmp_path, membership).free == math.inf


@pytest.mark.parametrize(
    "files", [{"memory__max": "many"}, {"memory__max": ""}, {"memory__max": 9, "memory__current": "x"}]
)
def test_limits_that_are_no_numbers_are_none(files: dict[str, object], tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, "0::/own\n")
    cgroups.write("own", **files)
    assert cgroups.free == math.inf


SHAPE = PUBLISHED["Qwen/Qwen3-Reranker-0.6B"]


def memory_check(device: str = "cpu") -> MemoryCheck:
    return MemoryCheck(BatchMemory(SHAPE, torch.float32, rows_at_once=1024), torch.device(device))


def test_a_pass_that_does_not_fit_is_refused_with_how_many_tokens_do(monkeypatch: pytest.MonkeyPatch) -> None:
    free = BatchMemory(SHAPE, torch.float32, rows_at_once=1024).bytes(3000)
    monkeypatch.setattr(budget, "free_memory", lambda _: free)
    with pytest.raises(DeviceMemoryError, match=r"A batch of 8,192 tokens needs about .* MiB are free") as raised:
        memory_check()(8192)
    found = re.search(r"about ([\d,]+) tokens fit", str(raised.value))
    assert found is not None
    most = int(found[1].replace(",", ""))
    assert 2000 < most < 3000
    memory_check()(most)
    with pytest.raises(DeviceMemoryError, match="long_documents='windows'"):
        memory_check()(most + 1)


def test_memory_that_earlier_passes_left_with_the_c_library_is_given_back_before_a_pass_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = [0]
    monkeypatch.setattr(budget, "free_memory", lambda _: free[0])
    monkeypatch.setattr(budget, "trim_malloc", lambda: free.__setitem__(0, 2**40))
    memory_check()(8192)


def test_other_devices_and_small_passes_are_not_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "free_memory", lambda _: 0)
    memory_check("meta")(8192)
    tiny = BatchMemory(dataclasses.replace(SHAPE, hidden=8, intermediate=8), torch.float32, rows_at_once=1024)
    MemoryCheck(tiny, torch.device("cpu"))(60)


def test_weights_that_do_not_fit_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = choose_placement(EngineSettings(device="cpu"))
    check_weights_fit("a model", dataclasses.replace(SHAPE, layers=1, vocabulary=10), placement)
    monkeypatch.setattr(budget, "cgroup_memory", lambda: 100 * 2**20)
    with pytest.raises(DeviceMemoryError, match="take 2,273 MiB as float32, and 100 MiB are free"):
        check_weights_fit("a model", SHAPE, placement)


def test_a_document_for_which_memory_is_short_is_refused_and_others_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    with Qwen3Reranker("demo", device="cpu") as reranker:
        reranker.warmup()
        monkeypatch.setattr(budget, "free_memory", lambda _: 40 * 2**20)
        assert len(reranker.rank("a question", ["some text"] * 3)) == 3
        with pytest.raises(DeviceMemoryError, match="tokens fit, template and query included. Lower max_length"):
            reranker.rank("a question", ["word " * 9000, "some text"])
        with Qwen3Reranker("demo", device="cpu", max_length=1000, long_documents="windows") as careful:
            assert len(careful.rank("a question", ["word " * 9000])) == 1, "as the message says"
