"""A few passages, an index over them, event handlers, and the model of the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.hashing import BagOfWords
from tests.llama_index.watchers import CallbackWatcher, EventWatcher, SpanWatcher

PASSAGES = {
    "tides": "The moon pulls the near side of the ocean more than the far side, so most coasts see two tides a day.",
    "yeast": "Bread rises because yeast eats sugar and breathes out carbon dioxide, which the gluten holds as bubbles.",
    "glaciers": "A glacier forms where more snow falls in winter than melts in summer, until its own weight moves it.",
    "printing": "Movable type let a printer set a page once and pull hundreds of copies of it in one day.",
    "bees": "A honey bee that has found nectar dances on the comb, and the angle of the dance points to the flowers.",
    "rainbows": "Each colour of a rainbow leaves the raindrop at its own angle, so every eye sees a bow of its own.",
    "compass": "A compass needle does not point to the north pole but along the magnetic field, which slowly drifts.",
    "salt": "Salt kept meat and fish edible for months, long before anybody could cool a room in summer.",
}
QUESTION = "How do insects tell each other where food is?"


@pytest.fixture(scope="session")
def model() -> str:
    """The checkpoint of every test that runs a real model."""
    return "demo"


@pytest.fixture
def passages() -> list[NodeWithScore]:
    """The passages as a retriever would hand them over, with made-up scores."""
    return [
        NodeWithScore(node=TextNode(text=text, id_=name), score=1 - number / 10)
        for number, (name, text) in enumerate(PASSAGES.items())
    ]


@pytest.fixture
def index() -> VectorStoreIndex:
    """The passages in LlamaIndex's own in-memory vector store."""
    nodes = [TextNode(text=text, id_=name, metadata={"topic": name}) for name, text in PASSAGES.items()]
    return VectorStoreIndex(nodes, embed_model=BagOfWords())


@pytest.fixture
def expected_order(model: str) -> Callable[[str, list[NodeWithScore]], list[str]]:
    """Node ids in the order that plain Python gives: the demo model need not be right, the adapter must agree."""
    reranker = Qwen3Reranker(model)

    def order(query: str, nodes: list[NodeWithScore]) -> list[str]:
        ranked = reranker.rank(query, [node.node.get_content(metadata_mode="embed") for node in nodes])
        return [nodes[document.index].node_id for document in ranked]

    return order


@pytest.fixture(params=["_postprocess_nodes", "_apostprocess_nodes"], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> str:
    """The method that a test is about: everything holds for both."""
    return request.param


@pytest.fixture
def rerank(twin: str) -> Callable[..., list[NodeWithScore]]:
    """Calls the twin the way hosts do."""

    def call(postprocessor: Qwen3Rerank, nodes: Any, query: str | None = None, **options: Any) -> list[NodeWithScore]:
        if twin == "_postprocess_nodes":
            return postprocessor.postprocess_nodes(nodes, query_str=query, **options)
        return asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str=query, **options))

    return call


@pytest.fixture
def scorer() -> OverlapScorer:
    return OverlapScorer()


@pytest.fixture
def postprocessor(scorer: OverlapScorer) -> Qwen3Rerank:
    """Ranks by shared words, and keeps all."""
    return Qwen3Rerank(reranker=Qwen3Reranker(scorer=scorer), top_n=None)


@pytest.fixture
def events() -> Iterator[EventWatcher]:
    watcher = EventWatcher()
    root = get_dispatcher()
    root.add_event_handler(watcher)
    yield watcher
    root.event_handlers.remove(watcher)


@pytest.fixture
def spans() -> Iterator[SpanWatcher]:
    watcher = SpanWatcher()
    root = get_dispatcher()
    root.add_span_handler(watcher)
    yield watcher
    root.span_handlers.remove(watcher)


@pytest.fixture
def callbacks(postprocessor: Qwen3Rerank) -> CallbackWatcher:
    watcher = CallbackWatcher()
    postprocessor.callback_manager = CallbackManager([watcher])
    return watcher
