"""How many threads of the CPU a model takes, decided on machines that are made up, and taken by its own thread only."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.loading import cpu_threads
from qwen3_rerank_plugins.engine.loading.cpu_threads import (
    SMALLEST_SHARED_LAYER,
    Cpus,
    cgroup_cpus,
    choose_threads,
    count_cores,
    find_cpus,
    threads_for,
    use_threads,
)
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError

LARGE = SMALLEST_SHARED_LAYER
EIGHT_CORES = Cpus(cores=8, quota=math.inf, torch=8)


@pytest.mark.parametrize(
    ("cpus", "count", "reason"),
    [
        (EIGHT_CORES, 8, "torch's own"),
        (Cpus(cores=3, quota=math.inf, torch=8), 3, "each core that this process may use"),
        (Cpus(cores=64, quota=2.0, torch=64), 2, "quota of 2 CPUs"),
        (Cpus(cores=64, quota=2.5, torch=64), 2, "quota of 2.5 CPUs"),
        (Cpus(cores=64, quota=0.5, torch=64), 1, "quota of 0.5 CPUs"),
        (Cpus(cores=8, quota=4.0, torch=1), 1, "torch's own"),
        (Cpus(cores=8, quota=2.0, torch=6, variable="OMP_NUM_THREADS"), 6, "OMP_NUM_THREADS is set"),
    ],
)
def test_a_large_model_takes_what_cores_quota_and_program_all_allow(cpus: Cpus, count: int, reason: str) -> None:
    chosen = choose_threads("auto", LARGE, cpus)
    assert chosen.count == count
    assert reason in chosen.reason


def test_a_small_model_takes_one_thread_and_the_published_ones_are_not_small() -> None:
    assert choose_threads("auto", LARGE - 1, EIGHT_CORES).count == 1
    for shape in PUBLISHED.values():
        assert choose_threads("auto", shape.layer_parameters // shape.layers, EIGHT_CORES).count == 8


@pytest.mark.parametrize(("models", "count"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_models_that_share_the_cpus_divide_them(models: int, count: int) -> None:
    assert choose_threads("auto", LARGE, EIGHT_CORES, models).count == count


def test_a_number_that_was_asked_for_counts_everywhere() -> None:
    for cpus in (EIGHT_CORES, Cpus(cores=1, quota=0.5, torch=1, variable="OMP_NUM_THREADS")):
        assert choose_threads(5, 1, cpus, models=2).count == 5


def test_a_config_that_leaves_sizes_out_is_of_the_large_model_that_transformers_makes_of_it() -> None:
    assert threads_for("auto", {}).count == choose_threads("auto", LARGE, find_cpus()).count


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "two", None])
def test_what_is_no_number_of_threads_is_refused(wrong: Any) -> None:
    for make in (EngineSettings, EmbeddingSettings):
        with pytest.raises(SettingsError, match="threads must be a positive whole number"):
            make(threads=wrong)


Tree = Callable[[str, dict[str, str]], tuple[Path, Path]]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files as the kernel shows them: the groups that a process is in, and what stands in the folders of the groups."""

    def make(membership: str, files: dict[str, str]) -> tuple[Path, Path]:
        (tmp_path / "cgroup").write_text(membership, encoding="ascii")
        for name, content in files.items():
            file = tmp_path / "mount" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n", encoding="ascii")
        return tmp_path / "cgroup", tmp_path / "mount"

    return make


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "max 100000"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("0::/../..\n", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/job\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
                                  "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 0.5),
        ("1:cpu:/job/x\n0::/\n", {"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000",
                                  "cpu/job/x/cpu.cfs_quota_us": "-1", "cpu/job/x/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpuacct,cpu:/docker/not-shown-inside\n", {"cpu/cpu.cfs_quota_us": "200000",
                                                     "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
    ],
)  # fmt: skip
def test_the_quota_is_the_smallest_of_all_groups_up_the_tree(
    membership: str, files: dict[str, str], quota: float, tree: Tree
) -> None:
    assert cgroup_cpus(*tree(membership, files)) == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_cpus(tmp_path / "nothing", tmp_path) == math.inf


@pytest.mark.parametrize(
    ("allowed", "cores"), [([0, 1, 2, 3], 2), ([0, 2], 1), ([0, 1], 2), ([3], 1)], ids=["all", "one", "two", "half"]
)
def test_two_hyperthreads_of_a_core_count_once(allowed: list[int], cores: int, tmp_path: Path) -> None:
    for cpu in range(4):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n", encoding="ascii")
    assert count_cores(allowed, tmp_path) == cores


def test_where_nobody_says_what_shares_a_core_each_cpu_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: None)
    assert count_cores([4, 5, 9], tmp_path) == 3


def in_a_new_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("count", [1, 3])
def test_a_number_of_threads_is_of_the_thread_that_takes_it_alone(count: int) -> None:
    def take() -> tuple[int, int]:
        use_threads(count)
        return torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)

    before = torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)
    assert in_a_new_thread(take) == (count, before[1])
    assert (torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)) == before


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Torch's number in the thread of every pass."""
    seen: list[int] = []
    run = ModelRunner.__call__

    def watch(self: ModelRunner, *arguments: Any) -> list[float]:
        seen.append(torch.get_num_threads())
        return run(self, *arguments)

    monkeypatch.setattr(ModelRunner, "__call__", watch)
    yield seen
    registry.close_all()


def test_passes_run_on_the_threads_that_were_asked_for_and_the_process_keeps_its_own(counted: list[int]) -> None:
    before = torch.get_num_threads(), in_a_new_thread(torch.get_num_threads), dict(os.environ)
    with Qwen3Reranker("demo", device="cpu", threads=3) as three, Qwen3Reranker("demo", device="cpu", threads=2) as two:
        for reranker in (three, two, three):
            reranker.rank("When did the river rise?", ["In spring.", "Never."])
    assert counted == [3, 2, 3]
    assert (torch.get_num_threads(), in_a_new_thread(torch.get_num_threads), dict(os.environ)) == before


def test_the_demo_runs_on_one_thread_whatever_torch_would_take(
    counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_threads, "find_cpus", lambda: EIGHT_CORES)
    with Qwen3Reranker("demo", device="cpu") as reranker:
        reranker.rank("When did the river rise?", ["In spring.", "Never."])
    assert counted == [1]


def test_replicas_on_the_cpu_divide_its_threads(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_threads, "find_cpus", lambda: EIGHT_CORES)
    monkeypatch.setattr(cpu_threads, "SMALLEST_SHARED_LAYER", 1)
    with Qwen3Reranker("demo", devices=["cpu", "cpu:0"]) as reranker:
        reranker.warmup()
    assert counted == [4, 4]


def test_an_embedder_takes_its_threads_as_a_reranker_does(
    embedding_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen3_rerank_plugins.embedding.model import LoadedEmbedder

    seen: list[int] = []
    encode = LoadedEmbedder._encode

    def watch(self: LoadedEmbedder, request: Any) -> Any:
        seen.append(torch.get_num_threads())
        return encode(self, request)

    monkeypatch.setattr(LoadedEmbedder, "_encode", watch)
    before = torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)
    embedder = LocalEmbedder(EmbeddingSettings(model=str(embedding_checkpoint), threads=3))
    embedder.embed(make_request(["a text"], EmbeddingOptions()))
    embedder.close()
    assert seen == [3]
    assert (torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)) == before
