"""Every call is announced by a start and an end event, also when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import PassError
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.watchers import CallbackWatcher, EventWatcher, SpanWatcher

Rerank = Callable[..., list[NodeWithScore]]


def nodes_of(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


def test_the_dispatcher_hears_what_went_in_and_what_came_out(
    postprocessor: Qwen3Rerank, events: EventWatcher, rerank: Rerank
) -> None:
    nodes = nodes_of("a", "a b")
    postprocessor.top_n = 1
    found = rerank(postprocessor, nodes, "a b")
    start, end = events.rerank_events()
    assert isinstance(start, ReRankStartEvent)
    assert (start.query, start.nodes, start.top_n, start.model_name) == (
        QueryBundle("a b"),
        nodes,
        1,
        "Qwen/Qwen3-Reranker-8B",
    )
    assert isinstance(end, ReRankEndEvent)
    assert end.nodes == found
    assert start.span_id == end.span_id is not None


def test_the_callback_manager_hears_the_same(
    postprocessor: Qwen3Rerank, callbacks: CallbackWatcher, rerank: Rerank
) -> None:
    nodes = nodes_of("a", "a b")
    found = rerank(postprocessor, nodes, "a b")
    start, end = callbacks.calls
    assert (start.kind, end.kind) == ("start", "end")
    assert start.event_id == end.event_id
    assert start.payload == {
        EventPayload.NODES: nodes,
        EventPayload.MODEL_NAME: "Qwen/Qwen3-Reranker-8B",
        EventPayload.QUERY_STR: "a b",
        EventPayload.TOP_K: 2,
    }
    assert end.payload == {EventPayload.NODES: found}


@pytest.mark.parametrize(("top_n", "announced"), [(None, 3), (0, 0), (2, 2), (9, 9)])
def test_the_announced_top_n_is_always_a_number(
    postprocessor: Qwen3Rerank, events: EventWatcher, rerank: Rerank, top_n: int | None, announced: int
) -> None:
    postprocessor.top_n = top_n
    rerank(postprocessor, nodes_of("a", "b", "c"), "a")
    assert events.rerank_events()[0].top_n == announced


def test_no_nodes_are_announced_like_any_others(
    postprocessor: Qwen3Rerank, events: EventWatcher, callbacks: CallbackWatcher, rerank: Rerank
) -> None:
    assert rerank(postprocessor, [], "a") == []
    start, end = events.rerank_events()
    assert (start.nodes, start.top_n, end.nodes) == ([], 0, [])
    assert [call.kind for call in callbacks.calls] == ["start", "end"]


def test_a_failure_ends_what_was_started_and_names_the_error(
    events: EventWatcher, spans: SpanWatcher, rerank: Rerank, twin: str
) -> None:
    watcher = CallbackWatcher()
    postprocessor = Qwen3Rerank(
        reranker=Qwen3Reranker(scorer=OverlapScorer(error=PassError("the batch failed"))),
        callback_manager=CallbackManager([watcher]),
    )
    with pytest.raises(PassError) as caught:
        rerank(postprocessor, nodes_of("a"), "a")
    start, end = events.rerank_events()
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert end.nodes == []
    assert [call.kind for call in watcher.calls] == ["start", "end"]
    assert watcher.calls[1].payload == {EventPayload.EXCEPTION: caught.value}
    assert [span.id_.split("-")[0] for span in spans.dropped_spans] == [f"Qwen3Rerank.{twin}"]


def test_an_error_before_the_first_event_starts_none(
    postprocessor: Qwen3Rerank, events: EventWatcher, callbacks: CallbackWatcher, rerank: Rerank
) -> None:
    for nodes, query in [
        (nodes_of("a"), None),
        ([], None),
        ([TextNode(text="bare")], "a"),
        (
            [NodeWithScore(node=TextNode(text="a", metadata={"k": 1}, text_template="{no_such_field}"))],
            QueryBundle("a"),
        ),
    ]:
        with pytest.raises((ValueError, KeyError)):
            rerank(postprocessor, nodes, query)
    assert events.rerank_events() == []
    assert callbacks.calls == []


def test_a_handler_that_fails_at_the_start_leaves_no_event_open(
    postprocessor: Qwen3Rerank, events: EventWatcher, rerank: Rerank
) -> None:
    class Failing(CallbackWatcher):
        def on_event_start(self, *args: Any, **kwargs: Any) -> str:
            raise RuntimeError("no room in the log")

    postprocessor.callback_manager = CallbackManager([Failing()])
    with pytest.raises(RuntimeError, match="no room in the log"):
        rerank(postprocessor, nodes_of("a"), "a")
    assert events.rerank_events() == []


def test_both_twins_run_in_a_span_of_their_own(
    postprocessor: Qwen3Rerank, spans: SpanWatcher, rerank: Rerank, twin: str
) -> None:
    rerank(postprocessor, nodes_of("a"), "a")
    assert list(spans.ended()) == [f"Qwen3Rerank.{twin}"]


class NeverScorer(OverlapScorer):
    """Takes requests and never answers."""

    def submit(self, request: Any) -> Future[Any]:
        self.requests.append(request)
        return Future()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_cancelling_ends_what_was_started(events: EventWatcher) -> None:
    watcher, scorer = CallbackWatcher(), NeverScorer()
    postprocessor = Qwen3Rerank(reranker=Qwen3Reranker(scorer=scorer), callback_manager=CallbackManager([watcher]))
    task = asyncio.create_task(postprocessor.apostprocess_nodes(nodes_of("a"), query_str="a"))
    await until(lambda: scorer.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(event) for event in events.rerank_events()] == [ReRankStartEvent, ReRankEndEvent]
    assert [call.kind for call in watcher.calls] == ["start", "end"]


@pytest.mark.asyncio
async def test_events_of_many_calls_at_once_pair_up_by_span_and_id(
    postprocessor: Qwen3Rerank, events: EventWatcher, callbacks: CallbackWatcher
) -> None:
    calls: list[Awaitable[Any]] = [
        postprocessor.apostprocess_nodes(nodes_of(*"abc"[: number % 4]), query_str="a") for number in range(20)
    ]
    await asyncio.gather(*calls)
    spans = {event.span_id for event in events.rerank_events()}
    assert len(spans) == 20
    for span in spans:
        start, end = (event for event in events.rerank_events() if event.span_id == span)
        assert len(start.nodes) == len(end.nodes)
    for kind in ("start", "end"):
        assert len({call.event_id for call in callbacks.calls if call.kind == kind}) == 20
