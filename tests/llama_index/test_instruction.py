"""The instruction can be set for the postprocessor, and for each query."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import ValidationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.watchers import EventWatcher

Rerank = Callable[..., list[NodeWithScore]]
NODES = [NodeWithScore(node=TextNode(text=text)) for text in ("red", "blue")]


def by_query(query: str) -> str | None:
    return "Find code" if "()" in query else None


def asked(scorer: OverlapScorer) -> list[str]:
    return [request.instruction for request in scorer.requests]


def instructed(scorer: OverlapScorer, instruction: Any) -> Qwen3Rerank:
    return Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), instruction=instruction)


def test_a_function_gives_each_query_its_instruction(scorer: OverlapScorer, rerank: Rerank) -> None:
    postprocessor = instructed(scorer, by_query)
    rerank(postprocessor, NODES, "sort()")
    rerank(postprocessor, NODES, "red")
    assert asked(scorer) == ["Find code", DEFAULT_INSTRUCTION]


def test_a_copy_has_an_instruction_of_its_own_and_the_same_engine(scorer: OverlapScorer, rerank: Rerank) -> None:
    postprocessor = instructed(scorer, "Find paint")
    for_one_call = postprocessor.model_copy(update={"instruction": "Find colors"})
    rerank(for_one_call, NODES, "red")
    rerank(postprocessor, NODES, "red")
    assert asked(scorer) == ["Find colors", "Find paint"]


def test_what_a_function_raises_reaches_the_caller_and_ends_the_events(
    scorer: OverlapScorer, rerank: Rerank, events: EventWatcher
) -> None:
    def broken(query: str) -> str:
        raise LookupError(query)

    with pytest.raises(LookupError, match="red"):
        rerank(instructed(scorer, broken), NODES, "red")
    assert [event.class_name() for event in events.rerank_events()] == ["ReRankStartEvent", "ReRankEndEvent"]
    with pytest.raises(InputTypeError, match="must return a string or None, got int"):
        rerank(instructed(scorer, len), NODES, "red")


def test_an_async_function_is_refused_when_the_postprocessor_is_made() -> None:
    async def awaited(query: str) -> str:
        return query

    with pytest.raises(ValidationError, match="must be an ordinary function, got an async one"):
        Qwen3Rerank(model="demo", instruction=awaited)


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda it: it.model_copy(deep=True),
        lambda it: pickle.loads(pickle.dumps(it)),
        lambda it: Qwen3Rerank.from_dict(it.to_dict()),
    ],
    ids=["copy", "deepcopy", "model_copy", "pickle", "dict"],
)
def test_a_function_survives_copies_pickles_and_dictionaries(duplicate: Any) -> None:
    assert duplicate(Qwen3Rerank(model="demo", instruction=by_query)).instruction is by_query


def test_a_function_is_never_lost_silently() -> None:
    postprocessor = Qwen3Rerank(model="demo", instruction=lambda query: query)
    with pytest.raises(TypeError, match="not JSON serializable"):
        postprocessor.to_json()
    with pytest.raises((pickle.PicklingError, AttributeError)):  # the host would drop it, and rank otherwise
        pickle.dumps(postprocessor)
