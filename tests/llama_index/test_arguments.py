"""Nodes and queries in every form that LlamaIndex and its users pass, and errors that name the right form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_rerank_plugins import Qwen3Reranker, RerankError
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.watchers import EventWatcher

Rerank = Callable[..., list[NodeWithScore]]


def overlap(**settings: Any) -> Qwen3Rerank:
    return Qwen3Rerank(reranker=Qwen3Reranker(scorer=OverlapScorer()), **{"top_n": None, **settings})


def nodes_of(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, id_=str(index))) for index, text in enumerate(texts)]


def test_no_callback_manager_is_as_good_as_an_empty_one(rerank: Rerank) -> None:
    made = overlap(callback_manager=None)
    assert len(rerank(made, nodes_of("a"), "a")) == 1
    made.callback_manager = None
    assert len(rerank(made, nodes_of("a"), "a")) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_a_node_whose_metadata_is_none_is_one_without_metadata(rerank: Rerank, keep: bool) -> None:
    node = TextNode.model_construct(text="a", id_="1", metadata=None)
    (found,) = rerank(overlap(keep_retrieval_score=keep), [NodeWithScore.model_construct(node=node, score=0.5)], "a")
    assert found.metadata == ({"retrieval_score": 0.5} if keep else {})
    assert node.metadata is None


def test_metadata_that_is_no_dict_is_refused_before_the_model_is_loaded(rerank: Rerank) -> None:
    node = TextNode.model_construct(text="a", id_="1", metadata=["a"])
    with pytest.raises(TypeError, match=r"metadata of nodes\[1\] must be a dict, got list"):
        rerank(Qwen3Rerank(model="/no/such/folder"), [*nodes_of("a"), NodeWithScore.model_construct(node=node)], "a")


@pytest.mark.parametrize("nodes", [None, 3, nodes_of("a")[0], TextNode(text="a")], ids=["None", "int", "one", "bare"])
def test_what_is_no_list_of_nodes_is_refused_with_what_to_pass(rerank: Rerank, nodes: Any) -> None:
    with pytest.raises(TypeError, match=r"nodes must be a list of NodeWithScore, got .*\[NodeWithScore") as caught:
        rerank(overlap(), nodes, "a")
    assert isinstance(caught.value, RerankError)


def test_a_string_as_query_bundle_is_a_query(rerank: Rerank) -> None:
    nodes = nodes_of("a", "b")
    expected = rerank(overlap(), nodes, "b")
    assert rerank(overlap(), nodes, query_bundle="b") == expected
    assert overlap()._postprocess_nodes(nodes, "b") == expected  # type: ignore[arg-type]  # as some hosts call it


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"query_str": 3},
        {"query_bundle": 3},
        {"query_bundle": QueryBundle(None)},
        {"query_bundle": {"query_str": "a"}},
        {"query_bundle": QueryBundle("a"), "query_str": "a"},
        {"query_bundle": "a", "query_str": "a"},
    ],
    ids=str,
)
def test_what_is_no_query_is_refused_with_what_to_pass_before_any_event(events: EventWatcher, query: Any) -> None:
    with pytest.raises(ValueError, match="query_str") as caught:
        overlap().postprocess_nodes(nodes_of("a"), **query)
    assert isinstance(caught.value, RerankError)
    assert events.rerank_events() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "demo"},
        {"model": "demo", "instruction": "Find recipes", "top_n": None, "min_score": 0, "device": "cpu"},
        {"model": "demo", "devices": ["cpu", "cpu:0"], "metadata_mode": "none", "keep_retrieval_score": True},
        {"model": "demo", "callback_manager": CallbackManager()},
        {"model": "demo", "callback_manager": None},
        {"model": "owner/name", "token": "hf_secret", "revision": "v1"},
        {"model": "m", "remote": "http://localhost:1", "template": "client", "api_key": "secret", "timeout": 2},
        {"reranker": Qwen3Reranker("demo", max_length=512, instruction="Find recipes", top_n=1)},
        {"reranker": Qwen3Reranker(scorer=OverlapScorer()), "top_n": 2},
        {"model": "demo", "instruction": str.upper},
    ],
    ids="-".join,
)
def test_what_was_written_as_a_dict_equals_the_original_when_it_is_read(settings: dict[str, Any]) -> None:
    original = Qwen3Rerank(**settings)
    assert Qwen3Rerank.from_dict(original.to_dict()) == original
    assert Qwen3Rerank.from_dict(original.to_dict()) != original.model_copy(update={"max_length": 1024})
