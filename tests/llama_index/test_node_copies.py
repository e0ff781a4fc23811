"""Results are copies that can be changed freely, and their new metadata is plain and flat."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer

Rerank = Callable[..., list[NodeWithScore]]


def overlap(**settings: Any) -> Qwen3Rerank:
    return Qwen3Rerank(reranker=Qwen3Reranker(scorer=OverlapScorer()), **{"top_n": None, **settings})


def shared_fields() -> dict[str, Any]:
    return {
        "metadata": {"tags": ["a"], "nested": {"deep": [1]}},
        "embedding": [0.5, 0.25],
        "excluded_llm_metadata_keys": ["tags"],
        "excluded_embed_metadata_keys": ["tags"],
        "relationships": {
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book", metadata={"of": ["a"]}),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="line", metadata={"of": ["b"]})],
        },
    }


MAKERS: dict[str, Callable[[], BaseNode]] = {
    "text": lambda: TextNode(text="red", **shared_fields()),
    "index": lambda: IndexNode(text="red", index_id="i", obj={"held": [1]}, **shared_fields()),
    "image": lambda: ImageNode(text="red", text_embedding=[1.0], **shared_fields()),
    "multimodal": lambda: Node(text_resource=MediaResource(text="red", embeddings={"dense": [1.0]}), **shared_fields()),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_change_to_a_result_never_reaches_the_node_that_came_in(
    rerank: Rerank, make: Callable[[], BaseNode], keep: bool
) -> None:
    node = make()
    before = node.model_dump_json()
    (found,) = rerank(overlap(keep_retrieval_score=keep), [NodeWithScore(node=node, score=0.5)], "red")
    assert type(found.node) is type(node)
    result: Any = found.node
    result.metadata["new"] = 1
    result.metadata["tags"].append("b")
    result.metadata["nested"]["deep"].append(2)
    result.embedding[0] = 7.0
    result.excluded_llm_metadata_keys.append("new")
    result.excluded_embed_metadata_keys.clear()
    result.relationships[NodeRelationship.SOURCE].metadata["of"].append("b")
    result.relationships[NodeRelationship.CHILD][0].metadata.clear()
    result.relationships[NodeRelationship.CHILD].append(RelatedNodeInfo(node_id="other"))
    del result.relationships[NodeRelationship.SOURCE]
    if isinstance(result, IndexNode):
        result.obj["held"].append(2)
    if isinstance(result, ImageNode):
        result.text_embedding[0] = 7.0
    if isinstance(result, Node):
        result.text_resource.text = "blue"
        result.text_resource.embeddings["dense"][0] = 7.0
    else:
        result.set_content("blue")
    result.id_ = "other"
    assert node.model_dump_json() == before


def test_an_object_that_a_node_refers_to_is_the_same_in_the_result(rerank: Rerank) -> None:
    engine = object()
    (found,) = rerank(overlap(), [NodeWithScore(node=IndexNode(text="red", index_id="i", obj=engine))], "red")
    assert isinstance(found.node, IndexNode)
    assert found.node.obj is engine


@pytest.mark.parametrize(
    "score", [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), Decimal("0.5"), 0.5], ids=repr
)
def test_a_kept_retrieval_score_is_a_python_float(rerank: Rerank, score: Any) -> None:
    node = NodeWithScore.model_construct(node=TextNode(text="red"), score=score)
    (found,) = rerank(overlap(keep_retrieval_score=True), [node], "red")
    assert (found.metadata["retrieval_score"], type(found.metadata["retrieval_score"])) == (0.5, float)
    assert json.loads(json.dumps(found.metadata)) == found.metadata


def test_notes_fit_into_a_flat_store(rerank: Rerank) -> None:
    text = "The weather was fine all week. " * 60 + "A red fox sleeps. " + "Nothing else happened. " * 60
    windows = Qwen3Rerank(model="demo", max_length=200, long_documents="windows", keep_retrieval_score=True)
    (found,) = rerank(windows, [NodeWithScore(node=TextNode(text=text), score=0.5)], "Where does the red fox sleep?")
    assert set(found.metadata) == {"retrieval_score", "relevant_start", "relevant_end"}
    stored = node_to_metadata_dict(found.node, flat_metadata=True)
    start, end = stored["relevant_start"], stored["relevant_end"]
    assert "A red fox sleeps." in text[start:end]
