"""One model serves threads, tasks and event loops, with cancellation and closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.embedding import model as model_module
from qwen3_rerank_plugins.embedding.checkpoint import find_embedding_checkpoint
from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, EmbeddingRequest, make_request
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.concurrency import lifetime
from qwen3_rerank_plugins.errors import ClosedError, InputTypeError, UnsupportedCheckpointError
from tests.fake_cuda import FakeCuda

TEXTS = [f"Text number {number} about {'glaciers ' * (number % 7)}." for number in range(16)]


def ask(*texts: str) -> EmbeddingRequest:
    return make_request(texts, EmbeddingOptions())


@pytest.fixture(scope="module")
def embedder(embedding_checkpoint: Path) -> Iterator[LocalEmbedder]:
    embedder = LocalEmbedder(EmbeddingSettings(model=str(embedding_checkpoint)))
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def alone(embedder: LocalEmbedder) -> list[list[float]]:
    return [embedder.embed(ask(text))[0] for text in TEXTS]


@pytest.mark.parametrize("device", ["cuda", torch.device("cuda"), torch.device("cuda", 1)], ids=repr)
def test_the_thread_of_an_embedder_makes_its_gpu_the_current_one_before_it_reads_weights(
    embedding_checkpoint: Path, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers

    gpus = FakeCuda().install(monkeypatch)
    asked: list[str] = []

    def stop(*_: object, device: str, **__: object) -> None:
        assert gpus.entered, "the device was not made the current one before"
        asked.append(device)
        raise ValueError("there is no such GPU")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", stop)
    embedder = LocalEmbedder(EmbeddingSettings(model=str(embedding_checkpoint), device=device))
    with pytest.raises(UnsupportedCheckpointError, match="there is no such GPU"):
        embedder.embed(ask("a text"))
    embedder.close()
    assert asked == ["cuda:1"]
    assert [(where, thread.startswith("qwen3-embedding")) for where, thread in gpus.entered] == [
        (torch.device("cuda", 1), True)
    ]


class Gate:
    """A fake loaded model that blocks each request until it is opened, and records the requests."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.seen: list[str] = []

    def embed(self, request: EmbeddingRequest) -> list[list[float]]:
        self.seen += request.texts
        self.entered.set()
        if not self.opened.wait(10):
            self.opened.set()  # one that waits in vain is enough
            raise TimeoutError("nobody opened the gate")
        return [[1.0] for _ in request.texts]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(model_module, "LoadedEmbedder", lambda settings: gate)
    return gate


def test_nothing_to_embed_loads_nothing() -> None:
    embedder = LocalEmbedder(EmbeddingSettings(model="/nowhere"))
    assert embedder.embed(ask()) == []
    assert asyncio.run(embedder.aembed(ask())) == []
    assert embedder._loaded is None


def test_32_threads_get_what_a_lone_caller_gets(embedder: LocalEmbedder, alone: list[list[float]]) -> None:
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda number: embedder.embed(ask(TEXTS[number % 16]))[0], range(64)))
    assert found == [alone[number % 16] for number in range(64)]


def test_32_threads_with_limits_of_their_own_do_not_disturb_each_other(
    embedder: LocalEmbedder, embedding_checkpoint: Path
) -> None:
    """The limit is state of the tokenizer, which is why one thread owns it."""

    def cut(limit: int) -> list[float]:
        return embedder.embed(make_request(["one two three four five six seven"], EmbeddingOptions(max_length=limit)))[
            0
        ]

    expected = {limit: cut(limit) for limit in (2, 3, 5, 8)}
    with ThreadPoolExecutor(32) as threads:
        limits = [2, 3, 5, 8] * 16
        assert list(threads.map(cut, limits)) == [expected[limit] for limit in limits]
    assert len({tuple(vector) for vector in expected.values()}) == 4


def test_gathered_tasks_and_one_loop_after_another_get_what_a_lone_caller_gets(
    embedder: LocalEmbedder, alone: list[list[float]]
) -> None:
    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(embedder.aembed(ask(text)) for text in TEXTS))

    assert [vector for (vector,) in asyncio.run(ask_all())] == alone
    assert [vector for (vector,) in asyncio.run(ask_all())] == alone


def test_one_that_could_not_be_loaded_tries_again_and_may_then_have_a_token(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    tokens: list[str | None] = []

    def load(settings: EmbeddingSettings) -> Gate:
        tokens.append(settings.token)
        if settings.token is None:
            raise InputTypeError("gated")
        return gate

    monkeypatch.setattr(model_module, "LoadedEmbedder", load)
    gate.opened.set()
    settings = EmbeddingSettings(model="owner/gated")
    with pytest.raises(InputTypeError):
        registry.share(settings, LocalEmbedder).embed(ask("a"))
    with_token = EmbeddingSettings(model="owner/gated", token="hf_secret")
    assert registry.share(with_token, LocalEmbedder).embed(ask("a")) == [[1.0]]
    assert tokens == [None, "hf_secret"]
    close_all()


def test_waiting_callers_hold_neither_the_loop_nor_the_threads_of_its_pool(gate: Gate) -> None:
    embedder = LocalEmbedder(EmbeddingSettings())

    async def ask_many() -> int:
        tasks = [asyncio.create_task(embedder.aembed(ask(text))) for text in TEXTS * 4]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
        gate.opened.set()
        return len(await asyncio.gather(*tasks))

    assert asyncio.run(ask_many()) == 64
    embedder.close()


def test_what_is_cancelled_while_it_waits_never_runs(gate: Gate) -> None:
    embedder = LocalEmbedder(EmbeddingSettings())

    async def change_ones_mind() -> list[list[float]]:
        running = asyncio.create_task(embedder.aembed(ask("running")))
        waiting = asyncio.create_task(embedder.aembed(ask("waiting")))
        assert await asyncio.to_thread(gate.entered.wait, 10)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        gate.opened.set()
        return await running

    assert asyncio.run(change_ones_mind()) == [[1.0]]
    assert embedder.embed(ask("later")) == [[1.0]]
    assert gate.seen == ["running", "later"]
    embedder.close()


def test_a_failure_is_nobody_elses(embedder: LocalEmbedder, alone: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="truncate_dim=1000"):
        embedder.embed(make_request(["a"], EmbeddingOptions(truncate_dim=1000)))
    assert embedder.embed(ask(TEXTS[0])) == alone[:1]


def test_closing_frees_the_model_and_asking_again_loads_anew(embedding_checkpoint: Path) -> None:
    settings = EmbeddingSettings(model=str(embedding_checkpoint))
    one = registry.share(settings, LocalEmbedder)
    before = one.embed(ask("a text"))
    assert registry.share(EmbeddingSettings(model=str(embedding_checkpoint)), LocalEmbedder) is one
    close_all()
    assert one._loaded is None
    with pytest.raises(ClosedError, match="closed meanwhile"):
        one.embed(ask("a text"))
    other = registry.share(settings, LocalEmbedder)
    assert other is not one
    assert other.embed(ask("a text")) == before
    close_all()


def test_a_model_of_the_parent_process_says_so_in_a_forked_one(embedding_checkpoint: Path) -> None:
    embedder = LocalEmbedder(EmbeddingSettings(model=str(embedding_checkpoint)))
    embedder._process = -1
    with pytest.raises(ClosedError, match="before this process was forked"):
        embedder.embed(ask("a text"))
    embedder.close()


def test_while_a_checkpoint_downloads_others_may_load_and_the_process_may_fork(
    embedding_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloading, found = threading.Event(), threading.Event()

    def download(settings: EmbeddingSettings) -> Any:
        downloading.set()
        assert found.wait(60)
        return find_embedding_checkpoint(settings)

    monkeypatch.setattr(model_module, "find_embedding_checkpoint", download)
    embedder = LocalEmbedder(EmbeddingSettings(model=str(embedding_checkpoint)))
    with ThreadPoolExecutor(1) as threads:
        vectors = threads.submit(embedder.embed, ask("a text"))
        assert downloading.wait(60)
        free = lifetime._loading.acquire(timeout=60)
        found.set()
        assert free
        lifetime._loading.release()
        assert len(vectors.result(60)) == 1
    embedder.close()
