"""While the reranker is slow or down, the nodes come back in retrieval order, if the caller wants that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.schema import NodeWithScore

from qwen3_rerank_plugins import Qwen3Reranker, _fallback, errors
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.watchers import EventWatcher


@pytest.fixture(autouse=True)
def _no_earlier_warning() -> Iterator[None]:
    _fallback._WARNED.clear()
    yield
    _fallback._WARNED.clear()


@pytest.fixture(params=["postprocess_nodes", "apostprocess_nodes"])
def rerank(request: pytest.FixtureRequest) -> Any:
    def call(adapter: Qwen3Rerank, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        found = getattr(adapter, request.param)(nodes, query_str="bee")
        return asyncio.run(found) if asyncio.iscoroutine(found) else found  # type: ignore[no-any-return]

    return call


def adapter_of(error: Exception | None, **fields: Any) -> Qwen3Rerank:
    return Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=OverlapScorer(error)), **fields)


@pytest.mark.parametrize("error", [errors.RerankTimeoutError("late"), errors.PassError("down")], ids=repr)
def test_nodes_come_back_in_retrieval_order_with_the_reason_and_their_own_scores(
    rerank: Any, passages: list[NodeWithScore], error: Exception
) -> None:
    found = rerank(adapter_of(error, on_failure="retrieval_order", top_n=2, min_score=0.5), passages)
    assert [(node.node_id, node.score) for node in found] == [("tides", 1.0), ("yeast", 0.9)]
    reason = f"{type(error).__name__}: {error} min_score=0.5 was not applied."
    assert [node.metadata for node in found] == [{"rerank_failure": reason}] * 2
    assert "rerank_failure" in found[0].node.excluded_llm_metadata_keys
    assert passages[0].metadata == {}


def test_the_host_hears_of_the_error_and_of_the_nodes(
    rerank: Any, passages: list[NodeWithScore], events: EventWatcher
) -> None:
    error = errors.PassError("down")
    found = rerank(adapter_of(error, on_failure="retrieval_order"), passages)
    (heard,) = [event for event in events.seen if isinstance(event, ExceptionEvent)]
    assert heard.exception is error
    assert events.rerank_events()[-1].nodes == found  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (errors.PassError("down"), {}),
        (errors.RequestError("bad input"), {"on_failure": "retrieval_order"}),
        (errors.NonFiniteScoreError("not a number"), {"on_failure": "retrieval_order"}),
        (errors.RemoteRefusedError("wrong key", status=401), {"on_failure": "retrieval_order"}),
    ],
    ids=repr,
)
def test_an_error_is_raised_by_default_and_if_the_call_or_the_scores_are_wrong(
    rerank: Any, passages: list[NodeWithScore], error: Exception, fields: dict[str, Any]
) -> None:
    with pytest.raises(type(error), match=str(error)):
        rerank(adapter_of(error, **fields), passages)


def test_a_later_reranking_removes_the_reason(rerank: Any, passages: list[NodeWithScore]) -> None:
    failed = rerank(adapter_of(errors.PassError("down"), on_failure="retrieval_order", top_n=None), passages)
    (best,) = rerank(adapter_of(None, top_n=1), failed)
    assert best.node_id == "bees"
    assert "rerank_failure" not in best.metadata


def test_a_model_that_is_not_there_falls_back(rerank: Any, passages: list[NodeWithScore], tmp_path: Path) -> None:
    adapter = Qwen3Rerank(model=str(tmp_path / "gone"), on_failure="retrieval_order", top_n=1)
    (only,) = rerank(adapter, passages)
    assert only.metadata["rerank_failure"].startswith("CheckpointNotFoundError: There is no folder")


def test_a_serialized_adapter_keeps_what_it_does_on_failure() -> None:
    adapter = Qwen3Rerank(model="demo", on_failure="retrieval_order")
    assert Qwen3Rerank.from_dict(adapter.to_dict()).on_failure == "retrieval_order"
