"""Concurrent callers in threads, tasks, event loops and processes get the same results as a single caller."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import PassError
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.conftest import PASSAGES

QUERIES = [f"{word} {name}?" for name in PASSAGES for word in ("What is", "Why", "Who knows about", "When did")]
Ranking = list[tuple[str, float]]


@pytest.fixture(scope="module")
def shared(model: str) -> Qwen3Rerank:
    return Qwen3Rerank(model=model, top_n=None)


def batch(query: str) -> list[NodeWithScore]:
    """A different number of passages for each query, so that requests of all shapes meet."""
    names = list(PASSAGES)[: 1 + QUERIES.index(query) % len(PASSAGES)]
    return [NodeWithScore(node=TextNode(text=PASSAGES[name], id_=name)) for name in names]


def ranking(nodes: list[NodeWithScore]) -> Ranking:
    return [(node.node_id, node.score or 0.0) for node in nodes]


def rank(postprocessor: Qwen3Rerank, query: str) -> Ranking:
    return ranking(postprocessor.postprocess_nodes(batch(query), query_str=query))


async def arank(postprocessor: Qwen3Rerank, query: str) -> Ranking:
    return ranking(await postprocessor.apostprocess_nodes(batch(query), query_str=query))


def assert_same(found: list[Ranking], serial: list[Ranking]) -> None:
    """The same scores; requests share batches, and the last bits of a float32 sum depend on the batch."""
    assert [dict(one) for one in found] == [pytest.approx(dict(one), abs=1e-5) for one in serial]


@pytest.fixture(scope="module")
def serial(shared: Qwen3Rerank) -> list[Ranking]:
    return [rank(shared, query) for query in QUERIES]


def test_thirty_two_threads_get_what_one_gets(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    with ThreadPoolExecutor(32) as pool:
        assert_same(list(pool.map(lambda query: rank(shared, query), QUERIES)), serial)


@pytest.mark.asyncio
async def test_gathered_tasks_get_what_one_caller_gets(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    assert_same(await asyncio.gather(*(arank(shared, query) for query in QUERIES)), serial)


def test_two_event_loops_in_a_row_and_one_made_before_any(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    for _ in range(2):
        assert_same([asyncio.run(arank(shared, QUERIES[0]))], serial[:1])


@pytest.mark.asyncio
async def test_the_synchronous_twin_works_inside_a_running_loop(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    assert_same([rank(shared, QUERIES[0])], serial[:1])


@pytest.mark.asyncio
async def test_the_async_twin_never_goes_through_the_synchronous_one(
    postprocessor: Qwen3Rerank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a thread would wait here for nothing")

    monkeypatch.setattr(Qwen3Reranker, "rank", forbidden)
    monkeypatch.setattr(Qwen3Rerank, "_postprocess_nodes", forbidden)
    assert len(await arank(postprocessor, QUERIES[7])) == len(batch(QUERIES[7]))


@pytest.mark.asyncio
async def test_the_loop_goes_on_while_the_model_runs(shared: Qwen3Rerank) -> None:
    waiting = asyncio.create_task(arank(shared, QUERIES[7]))
    turns = 0
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 3


@pytest.mark.asyncio
async def test_a_cancelled_call_leaves_the_reranker_usable(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    task = asyncio.create_task(arank(shared, QUERIES[1]))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_same([await arank(shared, QUERIES[0])], serial[:1])


def test_a_failed_call_leaves_the_reranker_usable() -> None:
    scorer = OverlapScorer(error=PassError("once"))
    postprocessor = Qwen3Rerank(reranker=Qwen3Reranker(scorer=scorer), top_n=None)
    with pytest.raises(PassError):
        rank(postprocessor, QUERIES[0])
    scorer._error = None
    assert len(rank(postprocessor, QUERIES[0])) == 1


@pytest.mark.slow
def test_a_spawned_process_ranks_with_a_pickled_instance(shared: Qwen3Rerank, serial: list[Ranking]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert_same([pool.submit(rank, shared, QUERIES[7]).result(timeout=300)], serial[7:8])


def test_instances_with_equal_settings_share_one_model(shared: Qwen3Rerank, model: str) -> None:
    other = Qwen3Rerank(model=model, top_n=1, keep_retrieval_score=True)
    assert other._reranker._scorer() is shared._reranker._scorer()
