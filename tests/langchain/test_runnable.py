"""Schemas, graphs, tools and chains that LangChain makes from the compressor and the retriever."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough

from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever

Fake = Callable[..., Qwen3Rerank]
PAGES = [Document("blue"), Document("red")]
INPUT: Any = {"query": "red", "documents": PAGES}

pytestmark = pytest.mark.filterwarnings("ignore:This API is in beta")


@pytest.fixture
def step(fake: Fake) -> Runnable[Any, list[Document]]:
    return fake().as_runnable()


def chains(step: Runnable[Any, Any]) -> dict[str, Runnable[Any, Any]]:
    gather = RunnableParallel(query=RunnablePassthrough(), documents=RunnableLambda(lambda _: PAGES))
    return {
        "alone": step,
        "bind": step.bind(top_n=1),
        "with_config": step.with_config(tags=["t"]),
        "with_types": step.with_types(input_type=dict),
        "with_retry": step.with_retry(),
        "with_fallbacks": step.with_fallbacks([step]),
        "parallel | step": gather | step,
        "step | count": step | RunnableLambda(len),
        "parallel of steps": RunnableParallel(a=step, b=step),
    }


@pytest.mark.parametrize("name", chains(RunnableLambda(len)))
def test_schemas_and_graphs_can_be_made_of_it_alone_and_in_chains(step: Runnable[Any, Any], name: str) -> None:
    chain = chains(step)[name]
    for made in (
        chain.get_input_jsonschema(),
        chain.get_output_jsonschema(),
        chain.get_config_jsonschema(),
        chain.get_graph().to_json(with_schemas=True),
    ):
        json.dumps(made)
    assert "Qwen3Rerank" in chain.get_graph().draw_mermaid()


def test_its_schema_names_the_query_and_the_documents(step: Runnable[Any, Any]) -> None:
    schema = step.get_input_jsonschema()
    assert set(schema["properties"]) == set(schema["required"]) == {"query", "documents"}
    assert schema["properties"]["query"]["type"] == "string"
    assert step.get_output_jsonschema()["type"] == "array"


@pytest.mark.parametrize("name", ["alone", "bind", "with_config", "with_types", "with_retry", "with_fallbacks"])
def test_every_form_of_it_ranks(step: Runnable[Any, Any], name: str) -> None:
    chain = chains(step)[name]

    async def streamed() -> list[Any]:
        return [part async for part in chain.astream(INPUT)]

    for found in (
        chain.invoke(INPUT),
        asyncio.run(chain.ainvoke(INPUT)),
        chain.batch([INPUT])[0],
        asyncio.run(chain.abatch([INPUT]))[0],
        *chain.stream(INPUT),
        *asyncio.run(streamed()),
    ):
        assert found[0].page_content == "red"


def test_events_of_it_are_streamed(step: Runnable[Any, Any]) -> None:
    async def events() -> list[str]:
        return [event["event"] async for event in step.astream_events(INPUT, version="v2")]

    assert {"on_chain_start", "on_chain_end"} <= set(asyncio.run(events()))


def test_a_tool_made_of_it_takes_documents_as_json(step: Runnable[Any, Any]) -> None:
    tool = step.as_tool(name="rerank", description="Order documents.")
    assert set(tool.args) == {"query", "documents"}
    given = {"query": "red", "documents": [{"page_content": "blue"}, {"page_content": "red", "metadata": {"page": 1}}]}
    for found in (tool.invoke(given), asyncio.run(tool.ainvoke(given))):
        assert found[0].metadata["page"] == 1


def test_a_pickle_of_it_ranks() -> None:
    restored = pickle.loads(pickle.dumps(Qwen3Rerank(model="demo", top_n=1).as_runnable()))
    assert restored.invoke(INPUT)[0].page_content == "red"
    assert "query" in restored.get_input_jsonschema()["properties"]


def test_the_retriever_has_schemas_a_graph_and_a_tool(fake: Fake) -> None:
    retriever = Qwen3RerankRetriever(retriever=RunnableLambda(lambda _: PAGES), reranker=fake())
    assert retriever.get_input_jsonschema()["type"] == "string"
    assert retriever.get_output_jsonschema()["type"] == "array"
    json.dumps(retriever.get_graph().to_json(with_schemas=True))
    json.dumps(Qwen3RerankRetriever.model_json_schema())
    tool = retriever.as_tool(name="find", description="Find documents.")
    for found in (tool.invoke("red"), asyncio.run(tool.ainvoke("red"))):
        assert found[0].page_content == "red"
    chain = retriever | RunnableLambda(len)
    assert chain.invoke("red") == 2
    json.dumps(chain.get_graph().to_json(with_schemas=True))
