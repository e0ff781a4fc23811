"""The instruction can be set for the compressor, for one call, and for each query."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError
from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever
from tests.doubles import OverlapScorer
from tests.langchain.conftest import Compress

PAGES = [Document("red"), Document("red green"), Document("blue")]


def by_query(query: str) -> str | None:
    return "Find code" if "()" in query else None


def asked(scorer: OverlapScorer) -> list[str]:
    return [request.instruction for request in scorer.requests]


@pytest.fixture
def scorer() -> OverlapScorer:
    return OverlapScorer()


@pytest.fixture
def compressor(scorer: OverlapScorer) -> Qwen3Rerank:
    return Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), instruction=by_query, top_n=2)


def test_a_function_gives_each_query_its_instruction(
    compressor: Qwen3Rerank, scorer: OverlapScorer, compress: Compress
) -> None:
    compress(compressor, PAGES, "sort()")
    compress(compressor, PAGES, "red")
    assert asked(scorer) == ["Find code", DEFAULT_INSTRUCTION]


def test_a_call_of_either_method_has_an_instruction_and_limits_of_its_own(
    compressor: Qwen3Rerank, scorer: OverlapScorer, compress: Compress
) -> None:
    assert len(compress(compressor, PAGES, "red", instruction="Find paint", top_n=None)) == 3
    assert len(compress(compressor, PAGES, "red green", instruction=lambda query: query, min_score=0.6)) == 1
    assert compress(compressor, PAGES, "red", instruction=None, top_n=0) == []
    assert asked(scorer) == ["Find paint", "red green", DEFAULT_INSTRUCTION]
    assert compressor.instruction is by_query
    with pytest.raises(SettingsError, match="min_score"):
        compress(compressor, PAGES, "red", min_score=2)


def test_a_call_of_rerank_takes_a_function_too(compressor: Qwen3Rerank, scorer: OverlapScorer) -> None:
    compressor.rerank(["red"], "sort()")
    asyncio.run(compressor.arerank(["red"], "red", instruction=lambda query: f"Find {query}"))
    assert asked(scorer) == ["Find code", "Find red"]


def test_a_step_takes_them_in_its_call_and_a_chain_binds_them(compressor: Qwen3Rerank, scorer: OverlapScorer) -> None:
    step = compressor.as_runnable()
    assert len(step.invoke({"query": "red", "documents": PAGES}, instruction="Find paint", top_n=None)) == 3
    found = {"query": RunnablePassthrough(), "documents": RunnableLambda(lambda _: PAGES)}
    chain = found | step.bind(instruction="Find colors", top_n=1)
    assert len(chain.invoke("red")) == len(asyncio.run(chain.ainvoke("red"))) == 1
    assert asked(scorer) == ["Find paint", "Find colors", "Find colors"]
    with pytest.raises(TypeError, match="topn"):
        step.invoke({"query": "red", "documents": PAGES}, topn=1)


def test_a_retriever_asks_with_the_instruction_of_each_query(compressor: Qwen3Rerank, scorer: OverlapScorer) -> None:
    retriever = Qwen3RerankRetriever(retriever=RunnableLambda(lambda _: PAGES), reranker=compressor)
    retriever.batch(["sort()", "red", "filter()"])
    assert sorted((request.query, request.instruction) for request in scorer.requests) == [
        ("filter()", "Find code"),
        ("red", DEFAULT_INSTRUCTION),
        ("sort()", "Find code"),
    ]


def test_what_a_function_raises_reaches_the_caller_and_the_trace(scorer: OverlapScorer, compress: Compress) -> None:
    def broken(query: str) -> str:
        raise LookupError(query)

    compressor = Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), instruction=broken)
    tracer = RunCollectorCallbackHandler()
    with pytest.raises(LookupError, match="red"):
        compress(compressor, PAGES, "red", callbacks=[tracer])
    assert "LookupError" in (tracer.traced_runs[0].error or "")
    with pytest.raises(InputTypeError, match="must return a string or None, got int"):
        compress(compressor, PAGES, "red", instruction=len)


def test_an_async_function_is_refused_when_the_compressor_is_made() -> None:
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
        lambda it: Qwen3Rerank.model_validate(it.model_dump()),
    ],
    ids=["copy", "deepcopy", "model_copy", "pickle", "dict"],
)
def test_a_function_survives_copies_pickles_and_dictionaries(duplicate: Any) -> None:
    compressor = Qwen3Rerank(model="demo", instruction=by_query)
    assert duplicate(compressor).instruction is by_query
    assert duplicate(compressor) == compressor


def test_a_function_is_never_lost_silently() -> None:
    compressor = Qwen3Rerank(model="demo", instruction=lambda query: query)
    with pytest.raises(PydanticSerializationError):
        compressor.model_dump_json()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(compressor)
