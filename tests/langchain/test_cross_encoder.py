"""The cross-encoder scores pairs, alone and inside LangChain's `CrossEncoderReranker`."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.langchain import Qwen3CrossEncoder, Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain import corpus
from tests.optional import need

PAIRS = [
    ("Why does bread rise?", corpus.TEXTS["bread"]),
    ("What causes the tides?", corpus.TEXTS["bread"]),
    ("Why does bread rise?", corpus.TEXTS["moon"]),
    ("What causes the tides?", corpus.TEXTS["tides"]),
    ("Why does bread rise?", ""),
]
Score = Callable[..., list[float]]


def shouting(query: str) -> str:
    return f"Find {query.upper()}"


@pytest.fixture(params=["score", "ascore"])
def score(request: pytest.FixtureRequest) -> Score:
    """Both methods, called alike."""

    def call(encoder: Qwen3CrossEncoder, pairs: Any) -> list[float]:
        found = getattr(encoder, request.param)(pairs)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    return call


@pytest.fixture
def encoder(model: str) -> Qwen3CrossEncoder:
    return Qwen3CrossEncoder(model=model)


def on(scorer: OverlapScorer, **fields: Any) -> Qwen3CrossEncoder:
    return Qwen3CrossEncoder(reranker=Qwen3Reranker("demo", scorer=scorer), **fields)


def test_it_is_the_cross_encoder_that_hosts_check_for(encoder: Qwen3CrossEncoder) -> None:
    assert isinstance(encoder, BaseCrossEncoder)


def test_pairs_of_different_queries_are_scored_in_their_order(
    encoder: Qwen3CrossEncoder, score: Score, model: str
) -> None:
    found = score(encoder, PAIRS)
    for (query, text), one in zip(PAIRS, found, strict=True):
        (alone,) = Qwen3Reranker(model).rank(query, [text])
        assert one == pytest.approx(alone.score, abs=1e-5)
    assert found[0] > found[1]
    assert found[3] > found[2]
    assert found[4] == 0
    assert all(type(one) is float for one in found)


def test_no_pairs_are_no_scores_and_load_nothing(score: Score) -> None:
    assert score(Qwen3CrossEncoder(model="/there/is/no/such/folder"), []) == []


def test_pairs_of_one_query_are_one_request(score: Score) -> None:
    scorer = OverlapScorer()
    score(on(scorer), PAIRS)
    assert [len(request.documents) for request in scorer.requests] == [3, 2]


@pytest.mark.parametrize("wrong", ["pair", ("q", None), ("q",), None])
def test_what_is_no_pair_is_named_in_the_error(encoder: Qwen3CrossEncoder, score: Score, wrong: object) -> None:
    with pytest.raises(InputTypeError, match=r"pairs\[1\] must be"):
        score(encoder, [("q", "d"), wrong])


def test_the_instruction_is_the_fields_and_may_depend_on_the_query(score: Score) -> None:
    scorer = OverlapScorer()
    score(on(scorer, instruction="Find recipes"), [("bread", "d")])
    score(on(scorer, instruction=shouting), [("bread", "d"), ("tea", "d"), ("bread", "e")])
    assert [request.instruction for request in scorer.requests] == ["Find recipes", "Find BREAD", "Find TEA"]


@pytest.mark.parametrize("option", ["top_n", "min_score", "modle"])
def test_an_option_that_it_does_not_have_is_refused(option: str) -> None:
    with pytest.raises(ValidationError, match=option):
        Qwen3CrossEncoder(**{"model": "demo", option: 1})


def test_a_ready_reranker_fills_the_fields_that_it_has() -> None:
    ready = Qwen3Reranker("demo", instruction="Find recipes", top_n=1, max_length=512, scorer=OverlapScorer())
    encoder = Qwen3CrossEncoder(reranker=ready)
    assert encoder.model_dump(exclude_defaults=True) == {
        "model": "demo",
        "instruction": "Find recipes",
        "max_length": 512,
    }
    assert len(encoder.score(PAIRS)) == len(PAIRS)


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda it: it.model_copy(deep=True),
        lambda it: pickle.loads(pickle.dumps(it)),
        lambda it: Qwen3CrossEncoder.model_validate_json(it.model_dump_json()),
    ],
    ids=["copy", "deepcopy", "model_copy", "pickle", "json"],
)
def test_a_copy_has_the_same_settings_and_scores(model: str, duplicate: Any) -> None:
    encoder = Qwen3CrossEncoder(model=model, max_length=512, instruction="Find passages", token="hf_never_to_be_seen")
    expected = encoder.score(PAIRS)
    copied = duplicate(encoder)
    assert copied is not encoder
    assert copied.model_dump() == encoder.model_dump()
    assert copied.score(PAIRS) == pytest.approx(expected, abs=1e-6)


def test_the_token_is_in_no_pickle_dump_or_text() -> None:
    encoder = Qwen3CrossEncoder(model="owner/name", token="hf_never_to_be_seen")
    assert encoder._reranker.settings.token == "hf_never_to_be_seen"
    for shown in (pickle.dumps(encoder), repr(encoder).encode(), encoder.model_dump_json().encode()):
        assert b"hf_never_to_be_seen" not in shown


def test_a_function_pickles_by_its_name_and_is_never_lost_silently_in_json() -> None:
    encoder = Qwen3CrossEncoder(model="demo", instruction=shouting)
    assert pickle.loads(pickle.dumps(encoder)).instruction is shouting
    with pytest.raises(PydanticSerializationError):
        encoder.model_dump_json()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Qwen3CrossEncoder(model="demo", instruction=lambda query: query))


def test_its_json_schema_has_every_setting_and_no_function() -> None:
    properties = Qwen3CrossEncoder.model_json_schema()["properties"]
    assert set(Qwen3CrossEncoder(model="demo").model_dump()) <= set(properties)
    assert json.dumps(properties["instruction"]["anyOf"]) == '[{"type": "string"}, {"type": "null"}]'


def test_it_shares_the_engine_with_a_compressor_of_the_same_settings(encoder: Qwen3CrossEncoder, model: str) -> None:
    encoder.score(PAIRS)
    before = set(registry._entries)  # earlier tests may have left engines of other settings
    Qwen3Rerank(model=model).rerank(["red"], "red")
    assert encoder._reranker._scorer() is Qwen3Rerank(model=model)._reranker._scorer()
    assert set(registry._entries) <= before


def test_inside_langchains_reranker_it_ranks_as_the_compressor_does(encoder: Qwen3CrossEncoder, model: str) -> None:
    need("langchain_classic")
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker

    theirs = CrossEncoderReranker(model=encoder, top_n=4)
    ours = Qwen3Rerank(model=model, top_n=4)
    for question in corpus.QUESTIONS:
        found = theirs.compress_documents(corpus.documents(), question)
        expected = ours.compress_documents(corpus.documents(), question)
        assert [document.id for document in found] == [document.id for document in expected]
    assert theirs.compress_documents([], "anything") == []


def test_inside_langchains_reranker_a_chain_gives_the_best_of_what_was_retrieved(encoder: Qwen3CrossEncoder) -> None:
    need("langchain_classic")
    from langchain_classic.retrievers import ContextualCompressionRetriever
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_core.vectorstores import InMemoryVectorStore

    from tests.langchain.embeddings import HashingEmbeddings

    store = InMemoryVectorStore(HashingEmbeddings())
    store.add_documents(corpus.documents())
    retriever = ContextualCompressionRetriever(
        base_compressor=CrossEncoderReranker(model=encoder, top_n=2),
        base_retriever=store.as_retriever(search_kwargs={"k": 6}),
    )
    found: list[Document] = retriever.invoke("Why does bread rise?")
    assert found[0].id == "bread"
    assert asyncio.run(retriever.ainvoke("Why does bread rise?")) == found
