"""The retriever that reranks, and the compressor as a step, with langchain-core alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever
from tests.langchain import corpus
from tests.langchain.embeddings import HashingEmbeddings

QUERY = "What is the capital of China?"


@pytest.fixture
def retriever(compressor: Qwen3Rerank) -> Qwen3RerankRetriever:
    store = InMemoryVectorStore(HashingEmbeddings())
    store.add_documents(corpus.documents())
    first = store.as_retriever(search_kwargs={"k": 6})
    return Qwen3RerankRetriever(retriever=first, reranker=compressor.model_copy(update={"top_n": 2}))


def test_it_returns_what_both_steps_return_one_after_the_other(retriever: Qwen3RerankRetriever) -> None:
    found = retriever.retriever.invoke(QUERY)
    expected = retriever.reranker.compress_documents(found, QUERY)
    for got in (retriever.invoke(QUERY), asyncio.run(retriever.ainvoke(QUERY))):
        assert [document.page_content for document in got] == [document.page_content for document in expected]
        assert len(got) == 2
        assert all("relevance_score" in document.metadata for document in got)


def test_batches_give_what_single_calls_give(retriever: Qwen3RerankRetriever) -> None:
    queries = [QUERY, "What is the capital of Japan?"] * 4
    single = [[document.page_content for document in retriever.invoke(query)] for query in queries]
    for batch in (retriever.batch(queries), asyncio.run(retriever.abatch(queries))):
        assert [[document.page_content for document in found] for found in batch] == single


@pytest.mark.parametrize("way", ["sync", "async"])
def test_both_steps_are_children_of_its_run(retriever: Qwen3RerankRetriever, way: str) -> None:
    tracer = RunCollectorCallbackHandler()
    if way == "sync":
        retriever.invoke(QUERY, config={"callbacks": [tracer]})
    else:
        asyncio.run(retriever.ainvoke(QUERY, config={"callbacks": [tracer]}))
    (root,) = tracer.traced_runs
    assert [child.name for child in root.child_runs] == ["VectorStoreRetriever", "Qwen3Rerank"]
    assert root.child_runs[1].inputs["query"] == QUERY


def test_any_runnable_that_finds_documents_is_a_first_stage(compressor: Qwen3Rerank) -> None:
    first = RunnableLambda(lambda _: [Document("Gravity."), Document("The capital of China is Beijing.")])
    found = Qwen3RerankRetriever(retriever=first, reranker=compressor).invoke(QUERY)
    assert found[0].page_content == "The capital of China is Beijing."


def test_nothing_found_is_nothing_reranked(compressor: Qwen3Rerank) -> None:
    empty = Qwen3RerankRetriever(retriever=RunnableLambda(lambda _: []), reranker=compressor)
    assert empty.invoke(QUERY) == asyncio.run(empty.ainvoke(QUERY)) == []


def test_an_unknown_option_is_refused(compressor: Qwen3Rerank) -> None:
    with pytest.raises(ValidationError, match="top_k"):
        Qwen3RerankRetriever(retriever=RunnableLambda(lambda _: []), reranker=compressor, top_k=3)  # type: ignore[call-arg]


@pytest.mark.slow
def test_it_needs_no_langchain_classic() -> None:
    code = (
        "import sys; sys.modules['langchain_classic'] = None; sys.modules['langchain_community'] = None\n"
        "from langchain_core.documents import Document\n"
        "from langchain_core.runnables import RunnableLambda\n"
        "from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever\n"
        "first = RunnableLambda(lambda _: [Document('red'), Document('blue')])\n"
        "print(len(Qwen3RerankRetriever(retriever=first, reranker=Qwen3Rerank(model='demo')).invoke('blue')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_the_compressor_is_a_step_of_a_chain(compressor: Qwen3Rerank) -> None:
    documents = [Document("Gravity."), Document("The capital of China is Beijing.")]
    chain = {
        "query": RunnablePassthrough(),
        "documents": RunnableLambda(lambda _: documents),
    } | compressor.as_runnable()
    for found in (chain.invoke(QUERY), asyncio.run(chain.ainvoke(QUERY))):
        assert [document.page_content for document in found] == [documents[1].page_content, documents[0].page_content]


@pytest.mark.parametrize("wrong", [{"query": "q"}, {"documents": []}, "q", ["q"]])
def test_a_step_that_is_given_something_else_says_what_it_takes(compressor: Qwen3Rerank, wrong: Any) -> None:
    with pytest.raises(InputTypeError, match='The input must be {"query": ..., "documents": ...}'):
        compressor.as_runnable().invoke(wrong)
