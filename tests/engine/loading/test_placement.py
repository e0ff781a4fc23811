"""What "auto" comes to on a machine, and what is refused there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading import loader as weights
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement, models_on_device, use_device
from qwen3_rerank_plugins.engine.memory import free_memory
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RerankError, SettingsError, UnsupportedCheckpointError
from tests.fake_cuda import FakeCuda
from tests.optional import need


def test_auto_on_the_cpu_is_float32_and_sdpa_with_reasons() -> None:
    placement = choose_placement(EngineSettings(device="cpu"))
    assert (placement.device.type, placement.dtype, placement.attention.name) == ("cpu", torch.float32, "sdpa")
    assert placement.dtype_reason
    assert placement.attention.reason


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16)]
)
def test_auto_dtype_on_cuda_follows_the_compute_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_placement(EngineSettings()).dtype == dtype


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Of which the second is the current one."""
    return FakeCuda().install(monkeypatch)


@pytest.mark.parametrize(
    "device", ["cuda:0", "tpu", "cpu:zero", "meta", "CUDA", "xpu", "hpu", "mkldnn", "cuda:-1", "mps"]
)
def test_a_device_that_is_not_here_is_refused_by_name_with_those_that_are(device: str) -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine may have that device")
    with pytest.raises(
        SettingsError, match=f"device='{device}' is not usable here.*[^.]\\. Use device='auto', or one of 'cpu'\\."
    ):
        choose_placement(EngineSettings(device=device))


@pytest.mark.parametrize(("device", "name"), [("cpu", "cpu"), ("cpu:0", "cpu"), (" cpu ", "cpu")])
def test_every_word_for_the_cpu_is_the_same_device(device: str, name: str) -> None:
    assert choose_placement(EngineSettings(device=device)).device == torch.device(name)


@pytest.mark.parametrize(("device", "index"), [("cuda", 1), ("auto", 1), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_always_has_an_index_and_without_one_it_is_the_current(
    two_gpus: FakeCuda, device: str, index: int
) -> None:
    placement = choose_placement(EngineSettings(device=device))
    assert placement.device == torch.device("cuda", index)
    assert free_memory(placement.device) == 8 * 2**30
    use_device(placement.device)
    assert two_gpus.entered == [(torch.device("cuda", index), threading.current_thread().name)]


@pytest.mark.parametrize("device", ["cuda:2", "cuda:7"])
def test_a_gpu_beyond_the_last_is_refused_with_those_that_there_are(two_gpus: FakeCuda, device: str) -> None:
    with pytest.raises(SettingsError, match="sees 2 CUDA devices.*'cpu', 'cuda:0', 'cuda:1'"):
        choose_placement(EngineSettings(device=device))


def test_a_device_object_is_taken_for_its_name() -> None:
    named = EngineSettings(device="cuda:1")
    assert EngineSettings(device=torch.device("cuda:1")) == named  # type: ignore[arg-type]
    several = EngineSettings(devices=[torch.device("cuda", 0), "cuda:1 "])  # type: ignore[arg-type]
    assert several.devices == ("cuda:0", "cuda:1")
    assert EmbeddingSettings(device=torch.device("cpu")) == EmbeddingSettings(device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("device", [0, None, b"cuda", torch.float32, "  "])
def test_what_is_no_device_is_refused_when_the_settings_are_made(device: Any) -> None:
    for make in (
        lambda: EngineSettings(device=device),
        lambda: EngineSettings(devices=[device]),  # type: ignore[arg-type]
        lambda: EmbeddingSettings(device=device),
    ):
        with pytest.raises(SettingsError, match="device"):
            make()


def test_two_words_for_one_gpu_count_as_two_models_on_it(two_gpus: FakeCuda) -> None:
    settings = EngineSettings(devices=("cuda", "cuda:1", "cuda:0", "cuda:9"))
    assert [models_on_device(settings, replica) for replica in settings.replicas[:3]] == [2, 2, 1]


class StoppedError(UnsupportedCheckpointError):
    """Where the weights would go to a GPU."""


def rank_plainly(device: Any) -> None:
    with Qwen3Reranker("demo", device=device) as reranker:
        reranker.rank("a query", ["a document"])


def rank_on_each(device: Any) -> None:
    with Qwen3Reranker("demo", devices=[device]) as reranker:
        reranker.rank("a query", ["a document"])


def compress_in_langchain(device: Any) -> None:
    need("langchain_core")
    from langchain_core.documents import Document

    from qwen3_rerank_plugins.langchain import Qwen3Rerank

    compressor = Qwen3Rerank(model="demo", device=device)
    compressor.compress_documents([Document(page_content="a document")], "a query")


def postprocess_in_llama_index(device: Any) -> None:
    need("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from qwen3_rerank_plugins.llama_index import Qwen3Rerank

    node = NodeWithScore(node=TextNode(text="a document"))
    Qwen3Rerank(model="demo", device=device).postprocess_nodes([node], query_str="a query")


@pytest.mark.parametrize(
    "use", [rank_plainly, rank_on_each, compress_in_langchain, postprocess_in_llama_index], ids=lambda use: use.__name__
)
@pytest.mark.parametrize("device", ["cuda", torch.device("cuda"), torch.device("cuda", 1), "cuda:1"], ids=repr)
def test_a_worker_makes_its_gpu_the_current_one_of_its_thread_before_it_reads_weights(
    use: Callable[[Any], None], device: Any, two_gpus: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[torch.device, str]] = []

    def stop(_: object, __: object, placement: Any) -> None:
        assert two_gpus.entered, "the device was not made the current one before"
        read.append((placement.device, threading.current_thread().name))
        raise StoppedError("there is no such GPU. Stop here.")

    monkeypatch.setattr(weights, "_read_weights", stop)
    try:
        with pytest.raises(RerankError, match="Stop here"):
            use(device)
    finally:
        registry.close_all()
    assert two_gpus.entered == read == [(torch.device("cuda", 1), "qwen3-rerank-worker")]


def test_loading_without_a_worker_settles_the_calling_thread(
    two_gpus: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise StoppedError("there is no such GPU. Stop here.")

    monkeypatch.setattr(weights, "_read_weights", stop)
    settings = EngineSettings(model="demo", device="cuda")
    with pytest.raises(StoppedError):
        load_model(settings, find_checkpoint(settings))
    assert two_gpus.entered == [(torch.device("cuda", 1), threading.current_thread().name)]
