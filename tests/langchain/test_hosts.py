"""LangChain's retrievers, pipelines, tools and chains around the demo checkpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline, EmbeddingsFilter
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qdrant import QdrantVectorStore
from langchain_text_splitters import CharacterTextSplitter

from qwen3_rerank_plugins.errors import NoRoomError, UnsupportedCheckpointError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.langchain import corpus
from tests.langchain.embeddings import HashingEmbeddings

pytestmark = [
    # said on import; BM25Retriever and two transformers live nowhere else
    pytest.mark.filterwarnings("ignore:.langchain-community. is being sunset:DeprecationWarning"),
    # the run collector of the oldest langchain-core that we support, under a new pydantic
    pytest.mark.filterwarnings("ignore:The `copy` method is deprecated:DeprecationWarning"),
]

CANDIDATES = 6
Reranking = Callable[..., ContextualCompressionRetriever]


def bm25() -> BaseRetriever:
    from langchain_community.retrievers import BM25Retriever

    return BM25Retriever.from_documents(
        corpus.documents(), k=CANDIDATES, preprocess_func=lambda text: text.lower().rstrip("?.").split()
    )


def in_memory() -> BaseRetriever:
    store = InMemoryVectorStore(HashingEmbeddings())
    store.add_documents(corpus.documents())
    return store.as_retriever(search_kwargs={"k": CANDIDATES})


def qdrant() -> BaseRetriever:
    documents = [document.model_copy(update={"id": None}) for document in corpus.documents()]  # its ids are UUIDs
    store = QdrantVectorStore.from_documents(documents, HashingEmbeddings(), location=":memory:")
    return store.as_retriever(search_kwargs={"k": CANDIDATES})


RETRIEVERS = {"BM25": bm25, "in-memory vector store": in_memory, "Qdrant": qdrant}


@pytest.fixture(params=RETRIEVERS)
def base(request: pytest.FixtureRequest) -> BaseRetriever:
    return RETRIEVERS[request.param]()


@pytest.fixture
def reranking(model: str) -> Reranking:
    """A retriever that reranks what another one found."""

    def wrap(retriever: BaseRetriever, **fields: Any) -> ContextualCompressionRetriever:
        compressor = Qwen3Rerank(**{"model": model, **fields})
        return ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)

    return wrap


def scores(documents: list[Document]) -> list[float]:
    return [document.metadata["relevance_score"] for document in documents]


def assert_alike(found: list[Document], expected: list[Document]) -> None:
    """The same documents in the same order; the last bits of a score depend on the other requests of its batch."""
    assert [document.page_content for document in found] == [document.page_content for document in expected]
    assert scores(found) == pytest.approx(scores(expected), abs=1e-5)


def test_a_retriever_returns_what_the_facade_ranks_best(
    base: BaseRetriever, reranking: Reranking, compressor: Qwen3Rerank
) -> None:
    retriever = reranking(base, top_n=3)
    for question in corpus.QUESTIONS:
        candidates = [document.page_content for document in base.invoke(question)]
        ranked = compressor._reranker.rank(question, candidates, top_n=3)
        found = retriever.invoke(question)
        assert [document.page_content for document in found] == [document.text for document in ranked]
        assert scores(found) == pytest.approx([document.score for document in ranked], abs=1e-5)


def test_invoke_ainvoke_batch_and_abatch_agree(base: BaseRetriever, reranking: Reranking) -> None:
    retriever = reranking(base, top_n=None)
    expected = [retriever.invoke(question) for question in corpus.QUESTIONS]

    async def one_by_one() -> list[list[Document]]:
        return [await retriever.ainvoke(question) for question in corpus.QUESTIONS]

    answers = {
        "batch": retriever.batch(corpus.QUESTIONS),
        "ainvoke": asyncio.run(one_by_one()),
        "abatch": asyncio.run(retriever.abatch(corpus.QUESTIONS)),
    }
    for found in answers.values():
        for documents, wanted in zip(found, expected, strict=True):
            assert len(documents) == CANDIDATES
            assert_alike(documents, wanted)


def test_a_bad_question_of_a_large_batch_fails_alone(reranking: Reranking) -> None:
    retriever = reranking(in_memory(), top_n=3, max_length=400)
    questions = [*corpus.QUESTIONS * 6, "word " * 500, *corpus.QUESTIONS * 6]
    expected = {question: retriever.invoke(question) for question in corpus.QUESTIONS}
    answers = {
        "batch": retriever.batch(questions, return_exceptions=True),
        "batch, 32 at once": retriever.batch(questions, {"max_concurrency": 32}, return_exceptions=True),
        "abatch": asyncio.run(retriever.abatch(questions, return_exceptions=True)),
    }
    for found in answers.values():
        (bad,) = [answer for answer in found if isinstance(answer, Exception)]
        assert isinstance(bad, NoRoomError)
        for question, answer in zip(questions, found, strict=True):
            if answer is not bad:
                assert_alike(answer, expected[question])


def test_documents_in_the_store_stay_as_they_were(base: BaseRetriever, reranking: Reranking) -> None:
    retriever = reranking(base, top_n=None)
    for question in corpus.QUESTIONS[:3]:
        retriever.invoke(question)
    for question in corpus.QUESTIONS:
        assert not any("relevance_score" in document.metadata for document in base.invoke(question))


def test_ids_and_metadata_of_the_store_come_through(reranking: Reranking) -> None:
    for document in reranking(in_memory(), top_n=None).invoke(corpus.QUESTIONS[0]):
        assert document.metadata["source"] == f"{document.id}.txt"
        assert corpus.TEXTS[str(document.id)] == document.page_content


def test_one_compressor_serves_two_retrievers(compressor: Qwen3Rerank) -> None:
    found = [
        ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever).invoke(corpus.QUESTIONS[1])
        for retriever in (bm25(), in_memory(), bm25())
    ]
    assert_alike(found[0], found[2])
    assert compressor.top_n is None


def test_a_retriever_that_finds_nothing_gives_nothing(reranking: Reranking) -> None:
    empty = InMemoryVectorStore(HashingEmbeddings()).as_retriever()
    assert reranking(empty).invoke("anything") == []


@pytest.mark.asyncio
async def test_the_run_hangs_on_the_retrievers_run(reranking: Reranking) -> None:
    retriever, tracer = reranking(in_memory(), top_n=1), RunCollectorCallbackHandler()
    retriever.invoke(corpus.QUESTIONS[0], config={"callbacks": [tracer]})
    await retriever.ainvoke(corpus.QUESTIONS[0], config={"callbacks": [tracer]})
    assert len(tracer.traced_runs) == 2
    for run in tracer.traced_runs:
        assert [child.name for child in run.child_runs] == ["VectorStoreRetriever", "Qwen3Rerank"]
        step = run.child_runs[1]
        assert step.inputs["query"] == corpus.QUESTIONS[0]
        assert len(step.inputs["documents"]) == CANDIDATES
        assert len(step.outputs["output"]) == 1


@pytest.mark.asyncio
async def test_the_step_is_seen_in_the_event_stream(reranking: Reranking) -> None:
    events = [
        event["event"]
        async for event in reranking(in_memory()).astream_events(corpus.QUESTIONS[0], version="v2")
        if event["name"] == "Qwen3Rerank"
    ]
    assert events == ["on_chain_start", "on_chain_end"]


def test_an_unusable_checkpoint_is_an_error_of_the_retriever_and_of_its_trace(
    reranking: Reranking, tmp_path: Path
) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    retriever = reranking(in_memory(), model=str(tmp_path))
    tracer = RunCollectorCallbackHandler()
    with pytest.raises(UnsupportedCheckpointError, match="is BertForSequenceClassification"):
        retriever.invoke("anything", config={"callbacks": [tracer]})
    assert "is BertForSequenceClassification" in (tracer.traced_runs[0].child_runs[1].error or "")


@pytest.fixture
def pipeline(model: str) -> DocumentCompressorPipeline:
    """A filter by embeddings first, then the reranker."""
    return DocumentCompressorPipeline(
        transformers=[EmbeddingsFilter(embeddings=HashingEmbeddings(), k=4), Qwen3Rerank(model=model, top_n=2)]
    )


def test_in_a_pipeline_it_ranks_what_an_embeddings_filter_kept(pipeline: DocumentCompressorPipeline) -> None:
    found = pipeline.compress_documents(corpus.documents(), corpus.QUESTIONS[0])
    kept = pipeline.transformers[0].compress_documents(corpus.documents(), corpus.QUESTIONS[0])
    assert len(found) == 2
    assert_alike(found, pipeline.transformers[1].compress_documents(kept, corpus.QUESTIONS[0]))
    for document in found:
        assert type(document) is type(kept[0])
        assert document.state["query_similarity_score"] > 0


@pytest.mark.asyncio
async def test_in_a_pipeline_the_async_way_gives_the_same(pipeline: DocumentCompressorPipeline) -> None:
    found = await pipeline.acompress_documents(corpus.documents(), corpus.QUESTIONS[0])
    assert_alike(found, pipeline.compress_documents(corpus.documents(), corpus.QUESTIONS[0]))


def test_in_a_pipeline_it_gets_the_callbacks(pipeline: DocumentCompressorPipeline) -> None:
    tracer = RunCollectorCallbackHandler()
    pipeline.compress_documents(corpus.documents(), corpus.QUESTIONS[0], callbacks=[tracer])
    assert [run.name for run in tracer.traced_runs] == ["Qwen3Rerank"]


def test_in_a_pipeline_it_stands_between_a_splitter_and_a_reorderer(model: str) -> None:
    from langchain_community.document_transformers import LongContextReorder

    splitter = CharacterTextSplitter(separator=". ", chunk_size=60, chunk_overlap=0, keep_separator="end")
    reranker = Qwen3Rerank(model=model, top_n=5)
    whole = [Document(" ".join(corpus.TEXTS.values()), metadata={"source": "all.txt"})]
    pieces = splitter.transform_documents(whole)
    ranked = reranker.compress_documents(pieces, corpus.QUESTIONS[2])
    found = DocumentCompressorPipeline(transformers=[splitter, reranker, LongContextReorder()]).compress_documents(
        whole, corpus.QUESTIONS[2]
    )
    assert len(pieces) > 5
    assert {document.metadata["source"] for document in found} == {"all.txt"}
    assert_alike(sorted(found, key=lambda document: -document.metadata["relevance_score"]), ranked)


def test_a_second_reranker_overwrites_the_first_ones_score(model: str) -> None:
    first, second = Qwen3Rerank(model=model, top_n=4), Qwen3Rerank(model=model, instruction="Find poems", top_n=4)
    twice = DocumentCompressorPipeline(transformers=[first, second])
    found = twice.compress_documents(corpus.documents(), corpus.QUESTIONS[0])
    once = first.compress_documents(corpus.documents(), corpus.QUESTIONS[0])
    assert_alike(
        found, second.compress_documents([d.model_copy(update={"metadata": {}}) for d in once], corpus.QUESTIONS[0])
    )


@pytest.mark.parametrize("response_format", ["content", "content_and_artifact"])
def test_a_retriever_tool_answers_with_the_reranked_texts(reranking: Reranking, response_format: Any) -> None:
    retriever = reranking(in_memory(), top_n=2)
    tool = create_retriever_tool(
        retriever,
        "encyclopedia",
        "Looks facts up.",
        document_prompt=PromptTemplate.from_template("[{relevance_score:.3f}] {page_content}"),
        document_separator="\n",
        response_format=response_format,
    )
    found = retriever.invoke(corpus.QUESTIONS[3])
    expected = "\n".join(f"[{score:.3f}] {d.page_content}" for d, score in zip(found, scores(found), strict=True))
    call = {"name": "encyclopedia", "args": {"query": corpus.QUESTIONS[3]}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert message.content == expected
    if response_format == "content_and_artifact":
        assert_alike(message.artifact, found)


@pytest.mark.asyncio
async def test_a_retriever_tool_answers_asynchronously(reranking: Reranking) -> None:
    retriever = reranking(in_memory(), top_n=2)
    tool = create_retriever_tool(retriever, "encyclopedia", "Looks facts up.")
    found = await retriever.ainvoke(corpus.QUESTIONS[4])
    assert await tool.ainvoke({"query": corpus.QUESTIONS[4]}) == "\n\n".join(d.page_content for d in found)


class EchoChatModel(GenericFakeChatModel):
    """Answers with the prompt it was given, so that a test sees what reached the model."""

    messages: Iterator[AIMessage] = iter(())

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.messages = iter([AIMessage(content=messages[-1].content)])
        return super()._generate(messages, *args, **kwargs)


def chain(retriever: BaseRetriever) -> Runnable[str, str]:
    def joined(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    prompt = ChatPromptTemplate.from_template("Context:\n{context}\nQuestion: {question}")
    return (
        {"context": retriever | joined, "question": RunnablePassthrough()}
        | prompt
        | EchoChatModel()
        | StrOutputParser()
    )


def test_in_a_chain_the_chat_model_reads_the_best_texts_in_order(reranking: Reranking) -> None:
    retriever = reranking(bm25(), top_n=2)
    best, second = retriever.invoke(corpus.QUESTIONS[4])
    answer = chain(retriever).invoke(corpus.QUESTIONS[4])
    assert answer == (f"Context:\n{best.page_content}\n{second.page_content}\nQuestion: {corpus.QUESTIONS[4]}")


@pytest.mark.asyncio
async def test_a_chain_gives_the_same_in_every_way_of_calling(reranking: Reranking) -> None:
    answers = chain(reranking(in_memory(), top_n=2))
    expected = [answers.invoke(question) for question in corpus.QUESTIONS]
    assert answers.batch(corpus.QUESTIONS) == expected
    assert await answers.abatch(corpus.QUESTIONS) == expected
    assert "".join([piece async for piece in answers.astream(corpus.QUESTIONS[0])]) == expected[0]
