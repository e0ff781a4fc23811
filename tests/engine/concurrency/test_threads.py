"""A thread that cannot start is an error that says what to do, leaves nothing behind, and the next call tries again."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.concurrency.tokenizer_threads import tokenizer_threads
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.errors import ClosedError, RerankError, ThreadStartError
from tests.engine.scheduling.test_replicas import LARGE, Pair
from tests.engine.scheduling.test_scheduler import LIMIT, Device, expected, request, submit
from tests.optional import need
from tests.refused_threads import no_more_threads

REMEDY = "could not start: .* A limit on threads or memory is reached. Raise it .* and call again"
QUERY, DOCUMENTS = "What is the capital of China?", ["Beijing is the capital of China.", "Gravity pulls."]


@pytest.fixture
def rerankers() -> Iterator[list[Qwen3Reranker]]:
    made: list[Qwen3Reranker] = []
    yield made
    for reranker in made:
        reranker.close()
    close_all()


def test_a_worker_keeps_neither_the_job_nor_the_thread_and_the_next_request_tries_again() -> None:
    device = Device()
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    with no_more_threads():
        for _ in range(3):
            with pytest.raises(ThreadStartError, match=REMEDY):
                submit(worker, request(1, 5))
            assert not worker.queue
            assert worker._thread is None
    assert submit(worker, request(2, 5)).result(LIMIT) == expected(request(2, 5))
    assert device.served == [{2}], "a request that was refused ran for nobody"
    worker.close()


def test_a_worker_whose_thread_never_started_closes() -> None:
    worker = Scheduler(lambda: LoadedEngine(Device(), 1))
    with no_more_threads(), pytest.raises(RuntimeError):
        submit(worker, request(1, 5))
    worker.close()
    with pytest.raises(ClosedError):
        submit(worker, request(1, 5))


def test_replicas_that_cannot_start_account_for_nothing_and_start_later() -> None:
    pair = Pair()
    with no_more_threads():
        for _ in range(2):
            with pytest.raises(ThreadStartError, match=REMEDY):
                pair.submit(request(1, *LARGE)).result(LIMIT)
    assert [(one.outstanding, one.loading) for one in pair.replicas._replicas] == [(0, False)] * 2
    assert pair.submit(request(2, *LARGE)).result(LIMIT) == expected(request(2, *LARGE))
    pair.replicas.close()
    assert all(1 not in served for device in pair.devices for served in device.served)


def test_if_one_of_two_replicas_cannot_start_its_parts_fail_the_whole_and_the_other_serves_on() -> None:
    pair = Pair()
    first, second = (one.scheduler for one in pair.replicas._replicas)
    first.load().result(LIMIT)
    device = pair.devices[0]
    device.open.clear()
    pair.replicas._replicas[1].loading = True  # the large request would otherwise start it, and has to find it refused
    second_submit = second.submit

    def late(*arguments: Any, **options: Any) -> Any:
        with no_more_threads():
            return second_submit(*arguments, **options)

    second.submit = late  # type: ignore[method-assign]
    pair.replicas._candidates = lambda: pair.replicas._replicas  # type: ignore[method-assign]
    with pytest.raises(ThreadStartError):
        pair.submit(request(1, *LARGE)).result(LIMIT)
    device.open.set()
    assert [one.outstanding for one in pair.replicas._replicas][1] == 0
    del pair.replicas._candidates  # type: ignore[method-assign]
    assert pair.submit(request(2, *LARGE)).result(LIMIT) == expected(request(2, *LARGE))
    assert [one.outstanding for one in pair.replicas._replicas] == [0, 0]
    pair.replicas.close()


@pytest.mark.parametrize("options", [{}, {"devices": ["cpu", "cpu"]}], ids=["one device", "two replicas"])
@pytest.mark.parametrize("way", ["rank", "arank", "score", "warmup"])
def test_every_call_of_the_facade_says_so_and_works_later(
    way: str, options: dict[str, Any], rerankers: list[Qwen3Reranker]
) -> None:
    reranker = Qwen3Reranker("demo", max_batch_tokens=711, **options)
    rerankers.append(reranker)
    calls: dict[str, Callable[[], Any]] = {
        "rank": lambda: reranker.rank(QUERY, DOCUMENTS),
        "arank": lambda: asyncio.run(reranker.arank(QUERY, DOCUMENTS)),
        "score": lambda: reranker.score([(QUERY, text) for text in DOCUMENTS]),
        "warmup": reranker.warmup,
    }
    with no_more_threads():
        for _ in range(2):
            with pytest.raises(ThreadStartError, match=REMEDY):
                calls[way]()
    calls[way]()
    assert len(reranker.rank(QUERY, DOCUMENTS)) == 2
    scorer = reranker._scorer()
    assert isinstance(scorer, LocalScorer)
    reranker.close()
    assert not any(scheduler.queue for scheduler in scorer._schedulers)


def test_a_lane_that_has_a_thread_goes_on_with_it() -> None:
    entered, going_on = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert going_on.wait(LIMIT)

    owner = object()
    held = tokenizer_threads.submit(owner, 1, hold)
    assert entered.wait(LIMIT)
    with no_more_threads():
        later = tokenizer_threads.submit(owner, 1, lambda: "later")
        with pytest.raises(ThreadStartError, match=REMEDY):
            tokenizer_threads.submit(object(), 1, lambda: None)
    going_on.set()
    held.result(LIMIT)
    assert later.result(LIMIT) == "later"


def test_a_connection_that_cannot_have_its_thread_leaves_no_loop_open(rerankers: list[Qwen3Reranker]) -> None:
    need("httpx")
    reranker = Qwen3Reranker("m", remote="http://localhost:1", template="client")
    rerankers.append(reranker)
    with no_more_threads():
        for _ in range(2):
            with pytest.raises(ThreadStartError, match=REMEDY):
                reranker.rank(QUERY, DOCUMENTS)
    gc.collect()  # a loop that was left open would warn, and warnings are errors here


def test_an_embedder_runs_no_text_of_a_call_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    need("sentence_transformers")
    from qwen3_rerank_plugins.embedding import model as model_module
    from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
    from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, EmbeddingRequest, make_request
    from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings

    seen: list[str] = []

    class Model:
        def embed(self, request: EmbeddingRequest) -> list[list[float]]:
            seen.extend(request.texts)
            return [[1.0] for _ in request.texts]

    monkeypatch.setattr(model_module, "LoadedEmbedder", lambda settings: Model())
    embedder = LocalEmbedder(EmbeddingSettings())
    with no_more_threads():
        with pytest.raises(ThreadStartError, match=REMEDY):
            embedder.embed(make_request(["one"], EmbeddingOptions()))
        with pytest.raises(ThreadStartError, match=REMEDY):
            asyncio.run(embedder.aembed(make_request(["two"], EmbeddingOptions())))
    assert embedder.embed(make_request(["three"], EmbeddingOptions())) == [[1.0]]
    assert seen == ["three"]
    with no_more_threads():
        assert embedder.embed(make_request(["four"], EmbeddingOptions())) == [[1.0]], "it has its thread"
    embedder.close()
    with pytest.raises(ClosedError, match="closed meanwhile"):
        embedder.embed(make_request(["five"], EmbeddingOptions()))


def test_rows_of_a_batch_say_so_as_well(rerankers: list[Qwen3Reranker]) -> None:
    need("ray")
    from qwen3_rerank_plugins.ray.answers import Answerer

    reranker = Qwen3Reranker("demo", max_batch_tokens=712)
    rerankers.append(reranker)
    answerer = Answerer(reranker, "raise")
    with no_more_threads(), pytest.raises(ThreadStartError, match=REMEDY):
        answerer.answer([lambda: pytest.fail("asked")])
    reranker.warmup()
    with no_more_threads(), pytest.raises(ThreadStartError, match=REMEDY):
        answerer.answer([lambda: pytest.fail("asked")])
    assert answerer.answer([]) == []


def test_weights_whose_digest_finds_no_thread_are_an_error_of_the_tree(tmp_path: Path) -> None:
    need("ray")
    from qwen3_rerank_plugins.ray.fingerprint import _digests

    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    with no_more_threads(), pytest.raises(ThreadStartError, match=REMEDY):
        _digests({"model.safetensors": file})
    assert list(_digests({"model.safetensors": file})) == ["model.safetensors"]


def test_a_download_that_has_no_thread_is_an_error_of_the_tree(tmp_path: Path) -> None:
    reranker = Qwen3Reranker("owner/model", cache_dir=str(tmp_path))
    with no_more_threads(), pytest.raises(ThreadStartError, match=REMEDY):
        reranker.rank(QUERY, DOCUMENTS)
    reranker.close()


def test_no_thread_of_the_package_starts_past_the_one_door() -> None:
    """`thread.start()` and executors raise bare errors and may keep what they were given."""
    package = Path(start_thread.__code__.co_filename).parents[2]
    exempt = {
        "engine/concurrency/threads.py",
        "engine/concurrency/lifetime.py",  # it handles the refusal
        "embedding/embedder.py",  # likewise
        "ray/fingerprint.py",  # likewise
        "engine/score_cache/weights_digest.py",  # likewise
        "engine/kernels/product_race.py",  # likewise
        # a server's own event loop, which answers a request with 503 or 500
        *(f"serve/{name}.py" for name in ("app", "embedding_service", "ranking_service", "readiness")),
    }
    starts = r"(?<!_)thread\w*\.start\(|Thread\(.*\)\.start|Timer\("
    pools = r"(=|with) ThreadPoolExecutor\(|to_thread\(|run_in_executor\("
    doors = re.compile(f"{starts}|{pools}")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if doors.search(path.read_text(encoding="utf-8"))
    }
    assert found <= exempt


def test_an_exiting_interpreter_is_a_closed_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_rerank_plugins.engine.concurrency.lifetime._ending", True)
    with no_more_threads(), pytest.raises(ClosedError, match="The interpreter is exiting") as raised:
        start_thread(threading.Thread(target=print))
    assert isinstance(raised.value, RerankError)
