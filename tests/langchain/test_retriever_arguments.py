"""A keyword argument of a call reaches the reranker or the first stage, or is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore

from qwen3_rerank_plugins import RerankError
from qwen3_rerank_plugins.errors import UnknownArgumentError
from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever
from tests.langchain.embeddings import HashingEmbeddings
from tests.optional import need

Fake = Callable[..., Qwen3Rerank]
Ask = Callable[..., list[Document]]


async def _streamed(retriever: Runnable[Any, Any], query: str, **arguments: Any) -> list[Document]:
    return await anext(retriever.astream(query, **arguments))


WAYS: dict[str, Ask] = {
    "invoke": lambda retriever, query, **arguments: retriever.invoke(query, **arguments),
    "ainvoke": lambda retriever, query, **arguments: asyncio.run(retriever.ainvoke(query, **arguments)),
    "batch": lambda retriever, query, **arguments: retriever.batch([query] * 2, **arguments)[1],
    "abatch": lambda retriever, query, **arguments: asyncio.run(retriever.abatch([query], **arguments))[0],
    "stream": lambda retriever, query, **arguments: next(iter(retriever.stream(query, **arguments))),
    "astream": lambda retriever, query, **arguments: asyncio.run(_streamed(retriever, query, **arguments)),
    "bind": lambda retriever, query, **arguments: retriever.bind(**arguments).invoke(query),
    "with_config": lambda retriever, query, **arguments: retriever.with_config(tags=["t"]).invoke(query, **arguments),
    "with_retry": lambda retriever, query, **arguments: retriever.with_retry(stop_after_attempt=1).invoke(
        query, **arguments
    ),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


@pytest.fixture(scope="module")
def store() -> InMemoryVectorStore:
    store = InMemoryVectorStore(HashingEmbeddings())
    store.add_documents([Document(f"red {place}", metadata={"tenant": "ab"[place % 2]}) for place in range(8)])
    return store


@pytest.fixture
def retriever(store: InMemoryVectorStore, fake: Fake) -> Qwen3RerankRetriever:
    return Qwen3RerankRetriever(retriever=store.as_retriever(search_kwargs={"k": 6}), reranker=fake(top_n=None))


def of_a(document: Document) -> bool:
    return document.metadata["tenant"] == "a"


def test_a_filter_reaches_the_store(retriever: Qwen3RerankRetriever, ask: Ask) -> None:
    assert {document.metadata["tenant"] for document in ask(retriever, "red", filter=of_a)} == {"a"}


def test_k_is_the_number_of_candidates_and_top_n_the_number_of_results(
    retriever: Qwen3RerankRetriever, ask: Ask
) -> None:
    assert len(ask(retriever, "red", k=1)) == 1
    assert len(ask(retriever, "red", k=8)) == 8
    assert len(ask(retriever, "red", top_n=2)) == 2
    assert len(ask(retriever, "red", k=8, top_n=3, min_score=None, instruction="Find paint")) == 3


@pytest.mark.parametrize("name", ["fliter", "kk", "top_k", "search_kwargs", "fetch_k", "score_threshold"])
def test_what_nobody_takes_is_refused_by_name(retriever: Qwen3RerankRetriever, ask: Ask, name: str) -> None:
    with pytest.raises(UnknownArgumentError, match=rf"takes {name}\. .*filter, k") as caught:
        ask(retriever, "red", **{name: 1})
    assert isinstance(caught.value, RerankError)
    assert isinstance(caught.value, TypeError)


class Scored(InMemoryVectorStore):
    """A store that says what its scores are."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda similarity: (similarity + 1) / 2


@pytest.mark.parametrize(
    ("search_type", "names"),
    [
        ("mmr", {"fetch_k": 3, "lambda_mult": 0.5, "filter": of_a}),
        ("similarity_score_threshold", {"score_threshold": 0.0}),
    ],
)
def test_a_store_takes_what_belongs_to_its_way_of_searching(
    store: InMemoryVectorStore, fake: Fake, ask: Ask, search_type: str, names: dict[str, Any]
) -> None:
    given = {"score_threshold": 0.1} if "score_threshold" in names else {}
    scored = Scored(HashingEmbeddings())
    scored.store = store.store
    first = scored.as_retriever(search_type=search_type, search_kwargs=given)
    assert ask(Qwen3RerankRetriever(retriever=first, reranker=fake()), "red", **names)


class Recorder(BaseRetriever):
    """Remembers what it was given; takes anything."""

    seen: list[dict[str, Any]]

    def _get_relevant_documents(self, query: str, *, run_manager: Any, **kwargs: Any) -> list[Document]:
        self.seen.append(kwargs)
        return [Document(query)]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any, **kwargs: Any) -> list[Document]:
        return self._get_relevant_documents(query, run_manager=run_manager, **kwargs)


class OneName(BaseRetriever):
    """Takes one argument, without being asked asynchronously."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any, tenant: str = "b") -> list[Document]:
        return [Document(tenant)]


class NoName(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(query)]


def test_a_first_stage_that_takes_anything_gets_everything_but_the_rerankers_own(fake: Fake, ask: Ask) -> None:
    first = Recorder(seen=[])
    ask(Qwen3RerankRetriever(retriever=first, reranker=fake()), "red", filter={"a": 1}, top_n=1, verbose=False)
    assert first.seen[0] == {"filter": {"a": 1}}


def test_a_first_stage_that_takes_nothing_is_given_nothing_silently(fake: Fake, ask: Ask) -> None:
    with pytest.raises(UnknownArgumentError, match=r"NoName, takes k\. .*no keyword arguments"):
        ask(Qwen3RerankRetriever(retriever=NoName(), reranker=fake()), "red", k=1)


def test_a_first_stage_that_names_one_argument_gets_that_one(fake: Fake) -> None:
    wrapper = Qwen3RerankRetriever(retriever=OneName(), reranker=fake())
    assert wrapper.invoke("red", tenant="a")[0].page_content == "a"
    with pytest.raises(UnknownArgumentError, match="tennant"):
        wrapper.invoke("red", tennant="a")
    with pytest.raises(UnknownArgumentError, match="tenant"):  # its asynchronous side would not get it
        asyncio.run(wrapper.ainvoke("red", tenant="a"))


def found_with(query: str, *, tenant: str = "b") -> list[Document]:
    return [Document(f"{query} of {tenant}")]


async def afound_with(query: str, *, tenant: str = "b") -> list[Document]:
    return found_with(query, tenant=tenant)


STAGES: dict[str, Runnable[Any, Any]] = {
    "lambda": RunnableLambda(found_with),
    "lambda and async": RunnableLambda(found_with, afound_with),
    "bind": RunnableLambda(found_with).bind(),
    "with_config": RunnableLambda(found_with).with_config(tags=["t"]),
    "with_retry": RunnableLambda(found_with).with_retry(stop_after_attempt=1),
    "with_fallbacks": RunnableLambda(found_with).with_fallbacks([RunnableLambda(found_with)]),
    "sequence": RunnableLambda(found_with) | RunnableLambda(list),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_runnable_gets_what_its_function_names(fake: Fake, ask: Ask, stage: Runnable[Any, Any]) -> None:
    wrapper = Qwen3RerankRetriever(retriever=stage, reranker=fake())
    assert ask(wrapper, "red", tenant="a")[0].page_content == "red of a"
    with pytest.raises(UnknownArgumentError, match="tennant"):
        ask(wrapper, "red", tennant="a")


def test_retrievers_around_retrievers_take_what_the_innermost_takes(store: InMemoryVectorStore, fake: Fake) -> None:
    inner = Qwen3RerankRetriever(retriever=store.as_retriever(), reranker=fake(top_n=None))
    outer = Qwen3RerankRetriever(retriever=inner, reranker=fake(top_n=None))
    assert {document.metadata["tenant"] for document in outer.invoke("red", filter=of_a)} == {"a"}
    with pytest.raises(UnknownArgumentError, match="fliter"):
        outer.invoke("red", fliter=of_a)


def test_the_retrievers_of_langchain_classic_get_what_they_hand_on_and_no_more(
    store: InMemoryVectorStore, fake: Fake
) -> None:
    need("langchain_classic")
    from langchain_classic.retrievers import (
        ContextualCompressionRetriever,
        EnsembleRetriever,
        MultiQueryRetriever,
        ParentDocumentRetriever,
    )
    from langchain_classic.storage import InMemoryStore
    from langchain_core.language_models import FakeListLLM
    from langchain_text_splitters import CharacterTextSplitter

    first = store.as_retriever()
    compressing = ContextualCompressionRetriever(base_compressor=fake(top_n=None), base_retriever=first)
    wrapper = Qwen3RerankRetriever(retriever=compressing, reranker=fake(top_n=None))
    assert {document.metadata["tenant"] for document in wrapper.invoke("red", filter=of_a)} == {"a"}
    with pytest.raises(UnknownArgumentError, match="fliter"):
        wrapper.invoke("red", fliter=of_a)
    deaf: list[Any] = [
        EnsembleRetriever(retrievers=[first], weights=[1.0]),
        MultiQueryRetriever.from_llm(first, FakeListLLM(responses=["red"])),
        ParentDocumentRetriever(vectorstore=store, docstore=InMemoryStore(), child_splitter=CharacterTextSplitter()),
    ]
    for one in deaf:
        with pytest.raises(UnknownArgumentError, match="takes filter"):
            Qwen3RerankRetriever(retriever=one, reranker=fake()).invoke("red", filter=of_a)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_the_configurable_part_of_a_config_reaches_the_first_stage(
    store: InMemoryVectorStore, fake: Fake, way: str
) -> None:
    """LangChain's own way to search on behalf of one user."""
    first = store.as_retriever().configurable_fields(search_kwargs=ConfigurableField(id="search"))
    wrapper = Qwen3RerankRetriever(retriever=first, reranker=fake(top_n=None))
    config: Any = {"configurable": {"search": {"filter": of_a, "k": 8}}}
    for found in (
        WAYS[way](wrapper, "red", config=config),
        WAYS[way](wrapper.with_config(config), "red"),
        WAYS[way](wrapper, "red", config=config, k=2),
    ):
        assert {document.metadata["tenant"] for document in found} == {"a"}
    assert len(found) == 2


def test_a_step_and_the_methods_refuse_what_they_do_not_take(fake: Fake) -> None:
    compressor = fake()
    step = compressor.as_runnable()
    for call in (step.invoke, step.bind(topn=1).invoke):
        with pytest.raises(TypeError, match="topn"):
            call({"query": "red", "documents": []}, **({"topn": 1} if call == step.invoke else {}))
    for method in (compressor.rerank, compressor.compress_documents):
        with pytest.raises(TypeError, match="topn"):
            method([], "red", topn=1)
