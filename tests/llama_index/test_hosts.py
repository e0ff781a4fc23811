"""LlamaIndex's engines around a real model return the reranker's nodes in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.postprocessor import LongContextReorder, SimilarityPostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.tools import RetrieverTool

from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.llama_index.conftest import PASSAGES, QUESTION
from tests.llama_index.hashing import BagOfWords
from tests.llama_index.watchers import CallbackWatcher, EventWatcher

TOP_N = 3
Order = Callable[[str, list[NodeWithScore]], list[str]]
Run = Callable[[Any, str, str], Any]


@pytest.fixture(autouse=True)
def loop_of_the_thread() -> Iterator[None]:
    """Synchronous chat engines and evaluators take the thread's loop; where there is none they leave one open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def reranker(model: str) -> Qwen3Rerank:
    return Qwen3Rerank(model=model, top_n=TOP_N)


@pytest.fixture
def retriever(index: VectorStoreIndex) -> Any:
    return index.as_retriever(similarity_top_k=len(PASSAGES))


@pytest.fixture
def expected(retriever: Any, expected_order: Order) -> list[str]:
    """The best passages for the question, in order; if retrieval gave the same, the tests would show nothing."""
    retrieved = retriever.retrieve(QUESTION)
    best = expected_order(QUESTION, retrieved)[:TOP_N]
    assert best != [node.node_id for node in retrieved][:TOP_N]
    return best


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Calls `name`, or its twin "a" + name inside an event loop."""

    def call(host: Any, name: str, *arguments: str) -> Any:
        if request.param == "sync":
            return getattr(host, name)(*arguments)
        return asyncio.run(getattr(host, f"a{name}")(*arguments))

    return call


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in nodes]


def passages_in(text: str) -> list[str]:
    """Names of the passages that a text quotes, in order."""
    found = {name: text.find(passage) for name, passage in PASSAGES.items() if passage in text}
    return sorted(found, key=lambda name: found[name])


def test_a_query_engine_answers_from_the_best_nodes_in_order(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[reranker])
    response = run(engine, "query", QUESTION)
    assert ids(response.source_nodes) == expected
    assert passages_in(str(response)) == expected
    assert all(0 <= node.score <= 1 for node in response.source_nodes)


def test_a_query_engine_gives_its_callback_manager_to_the_reranker(
    retriever: Any, reranker: Qwen3Rerank, events: EventWatcher, run: Run
) -> None:
    watcher = CallbackWatcher()
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[reranker], callback_manager=CallbackManager([watcher])
    )
    run(engine, "query", QUESTION)
    assert [call.kind for call in watcher.calls] == ["start", "end"]
    assert len(events.rerank_events()) == 2


def test_a_citation_engine_numbers_the_best_nodes_in_order(
    index: VectorStoreIndex, retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    engine = CitationQueryEngine.from_args(index, llm=MockLLM(), retriever=retriever, node_postprocessors=[reranker])
    sources = run(engine, "query", QUESTION).source_nodes
    assert [passages_in(source.text) for source in sources] == [[name] for name in expected]
    assert [source.text.split(":")[0] for source in sources] == ["Source 1", "Source 2", "Source 3"]


@pytest.mark.parametrize("engine_class", [ContextChatEngine, CondensePlusContextChatEngine])
def test_a_chat_engine_puts_the_best_nodes_in_its_context(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run, engine_class: Any
) -> None:
    # the engines' default memory leaves a database connection open
    engine = engine_class.from_defaults(
        retriever, llm=MockLLM(), memory=ChatMemoryBuffer.from_defaults(), node_postprocessors=[reranker]
    )
    response = run(engine, "chat", QUESTION)
    assert ids(response.source_nodes) == expected
    assert passages_in(str(response)) == expected


def test_a_retriever_tool_returns_the_best_nodes_and_their_text(
    retriever: Any, reranker: Qwen3Rerank, expected_order: Order, run: Run
) -> None:
    tool = RetrieverTool.from_defaults(retriever, node_postprocessors=[reranker])
    asked = f"{QUESTION}\n\n"  # the tool's own way to write down its arguments
    best = expected_order(asked, retriever.retrieve(asked))[:TOP_N]
    output = run(tool, "call", QUESTION)
    assert ids(output.raw_output) == best
    assert passages_in(output.content) == best


def test_an_evaluator_measures_the_reranked_order(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr", "hit_rate"], retriever=retriever, node_postprocessors=[reranker]
    )
    result = run(evaluator, "evaluate", QUESTION, [expected[1]])
    assert result.retrieved_ids == expected
    assert result.metric_vals_dict == {"mrr": 0.5, "hit_rate": 1.0}


def test_a_similarity_cutoff_after_the_reranker_is_a_probability(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    scores = [node.score for node in reranker.postprocess_nodes(retriever.retrieve(QUESTION), query_str=QUESTION)]
    cutoff = SimilarityPostprocessor(similarity_cutoff=scores[1])
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[reranker, cutoff])
    assert ids(run(engine, "query", QUESTION).source_nodes) == expected[:2]


def test_reordering_for_long_contexts_puts_the_best_nodes_at_the_ends(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[reranker, LongContextReorder()]
    )
    best, second, third = expected
    assert ids(run(engine, "query", QUESTION).source_nodes) in ([best, third, second], [second, third, best])


def test_a_second_reranker_in_the_chain_has_the_last_word(
    retriever: Any, reranker: Qwen3Rerank, expected: list[str], run: Run, model: str
) -> None:
    final = Qwen3Rerank(model=model, top_n=1, keep_retrieval_score=True, instruction="Find a fact about the sea")
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[reranker, final])
    (source,) = run(engine, "query", QUESTION).source_nodes
    assert source.node_id in expected
    assert 0 < source.metadata["retrieval_score"] < 1
    assert "retrieval_score" not in source.node.get_content(metadata_mode=MetadataMode.LLM)


def test_chunks_of_a_splitter_keep_their_source(model: str, run: Run) -> None:
    # the splitter comes first, the embedding and the store see its chunks
    splitter = SentenceSplitter(chunk_size=60, chunk_overlap=0)
    chunks = splitter.get_nodes_from_documents([Document(text=" ".join(PASSAGES.values()), doc_id="book")])
    assert len(chunks) > 2
    retriever = VectorStoreIndex(chunks, embed_model=BagOfWords()).as_retriever(similarity_top_k=len(chunks))
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[Qwen3Rerank(model=model, keep_retrieval_score=True)]
    )
    sources = run(engine, "query", QUESTION).source_nodes
    assert {source.node.ref_doc_id for source in sources} == {"book"}
    assert set(ids(sources)) <= {chunk.node_id for chunk in chunks}


def test_one_reranker_serves_two_engines(
    index: VectorStoreIndex, reranker: Qwen3Rerank, expected: list[str], run: Run
) -> None:
    # each engine assigns its callback manager; nothing else of the shared instance may change
    before = reranker.to_dict()
    wide = index.as_query_engine(llm=MockLLM(), similarity_top_k=len(PASSAGES), node_postprocessors=[reranker])
    narrow = index.as_query_engine(llm=MockLLM(), similarity_top_k=1, node_postprocessors=[reranker])
    for _ in range(2):
        assert len(run(narrow, "query", QUESTION).source_nodes) == 1
        assert ids(run(wide, "query", QUESTION).source_nodes) == expected
    assert reranker.to_dict() == before


def test_nodes_of_the_index_are_the_same_after_reranking(
    index: VectorStoreIndex, retriever: Any, model: str, run: Run
) -> None:
    stored = {name: node.hash for name, node in index.docstore.docs.items()}
    cutting = Qwen3Rerank(model=model, max_length=110, keep_retrieval_score=True)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[cutting])
    sources = run(engine, "query", QUESTION).source_nodes
    assert any("truncated_tokens" in source.metadata for source in sources)
    assert {name: node.hash for name, node in index.docstore.docs.items()} == stored
