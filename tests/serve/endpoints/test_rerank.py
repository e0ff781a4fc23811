"""`/rerank` as the clients of Cohere, Jina, vLLM and Text Embeddings Inference send and read it."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.doubles import OverlapScorer
from tests.serve.conftest import DOCUMENTS, QUERY, Open, near, post

pytestmark = pytest.mark.asyncio
PATHS = ["/rerank", "/v1/rerank", "/v2/rerank"]
LONG = "word " * 400


@pytest.mark.parametrize("path", PATHS)
async def test_documents_come_back_in_the_order_and_with_the_scores_of_the_engine(
    serve: Open, demo: Qwen3Reranker, path: str
) -> None:
    async with serve() as client:
        answer = await post(client, path, query=QUERY, documents=DOCUMENTS, model="demo")
    found = [(result["index"], result["relevance_score"]) for result in answer["results"]]
    assert found == [(one.index, near(one.score)) for one in demo.rank(QUERY, DOCUMENTS)]
    assert answer["model"] == "demo"
    assert answer["meta"]["api_version"]["version"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
    assert answer["id"]


@pytest.mark.parametrize("path", PATHS)
async def test_not_a_digit_of_a_score_is_lost(serve: Open, path: str) -> None:
    documents = ["a", "a b", "c"]
    async with serve(Qwen3Reranker("m", scorer=OverlapScorer())) as client:
        answer = await post(client, path, query="a b", documents=documents)
    expected = Qwen3Reranker("m", scorer=OverlapScorer()).rank("a b", documents)
    assert [one["relevance_score"] for one in answer["results"]] == [one.score for one in expected]


async def test_the_body_of_tei_gets_a_bare_list(serve: Open, demo: Qwen3Reranker) -> None:
    expected = demo.rank(QUERY, DOCUMENTS)
    async with serve() as client:
        plain = await post(client, "/rerank", query=QUERY, texts=DOCUMENTS)
        full = await post(client, "/rerank", query=QUERY, texts=DOCUMENTS, raw_scores=True, return_text=True)
    assert plain == [{"index": one.index, "score": near(one.score)} for one in expected]
    assert full == [{"index": one.index, "score": near(one.logit), "text": one.text} for one in expected]


@pytest.mark.parametrize(("path", "default"), [("/rerank", True), ("/v1/rerank", True), ("/v2/rerank", False)])
async def test_texts_come_back_where_the_protocol_has_it_so_or_when_asked_for(
    serve: Open, path: str, default: bool
) -> None:
    async with serve() as client:
        for asked, expected in ((None, default), (True, True), (False, False)):
            answer = await post(client, path, query=QUERY, documents=DOCUMENTS, return_documents=asked)
            texts = [result.get("document") for result in answer["results"]]
            assert texts == [{"text": DOCUMENTS[result["index"]]} if expected else None for result in answer["results"]]


@pytest.mark.parametrize(
    ("top_n", "count"), [(None, 3), (0, 3), (1, 1), (3, 3), (99, 3)], ids=["null", "zero", "one", "all", "more"]
)
async def test_top_n_may_be_null_zero_or_larger_than_the_list(serve: Open, top_n: int | None, count: int) -> None:
    async with serve() as client:
        answer = await post(client, "/v1/rerank", query=QUERY, documents=DOCUMENTS, top_n=top_n)
        assert len(answer["results"]) == count
        assert len(await post(client, "/rerank", query=QUERY, texts=DOCUMENTS, top_n=top_n)) == count


async def test_an_empty_list_has_an_empty_answer(serve: Open) -> None:
    async with serve() as client:
        assert (await post(client, "/v2/rerank", query=QUERY, documents=[]))["results"] == []
        assert await post(client, "/rerank", query=QUERY, texts=[]) == []


async def test_documents_may_be_objects_and_are_ranked_by_the_named_fields(serve: Open, demo: Qwen3Reranker) -> None:
    objects = [{"text": DOCUMENTS[0], "id": 7}, {"page_content": DOCUMENTS[1]}, DOCUMENTS[2]]
    fields = [{"title": "China", "body": "Beijing is its capital."}, {"title": "Japan", "body": None, "text": "Tokyo"}]
    async with serve() as client:
        mixed = await post(client, "/v1/rerank", query=QUERY, documents=objects)
        by_field = await post(client, "/v1/rerank", query=QUERY, documents=fields, rank_fields=["title", "body"])
    assert [one["document"]["text"] for one in mixed["results"]] == [one.text for one in demo.rank(QUERY, DOCUMENTS)]
    expected = demo.rank(QUERY, ["China\nBeijing is its capital.", "Japan"])
    assert [one["relevance_score"] for one in by_field["results"]] == near([one.score for one in expected])


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_fields_and_fields_without_meaning_here_do_no_harm(serve: Open, path: str) -> None:
    async with serve() as client:
        bare = await post(client, path, query=QUERY, documents=DOCUMENTS)
        full = await post(
            client, path, query=QUERY, documents=DOCUMENTS, max_chunks_per_doc=10, priority=3, user="someone"
        )
    assert full["results"] == bare["results"]


async def test_another_model_is_noted_once_and_answered_all_the_same(
    serve: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qwen3_rerank_plugins")
    async with serve(name="our-reranker") as client:
        for _ in range(2):
            answer = await post(client, "/v2/rerank", query=QUERY, documents=DOCUMENTS, model="rerank-v3.5\n")
    notes = [record.getMessage() for record in caplog.records if "asked for" in record.getMessage()]
    assert answer["model"] == "our-reranker"
    assert len(notes) == 1
    assert r"rerank-v3.5\n" in notes[0]
    assert "our-reranker" in notes[0]


async def test_instruction_and_lowest_score_are_those_of_the_request(serve: Open, demo: Qwen3Reranker) -> None:
    instruction = "Given a question, retrieve passages about physics"
    async with serve() as client:
        answer = await post(
            client, "/v2/rerank", query=QUERY, documents=DOCUMENTS, instruction=instruction, min_score=0.5
        )
    expected = demo.rank(QUERY, DOCUMENTS, instruction=instruction, min_score=0.5)
    assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [
        (one.index, near(one.score)) for one in expected
    ]
    assert 0 < len(expected) < 3


@pytest.mark.parametrize("body", [{"raw_scores": True}, {"use_activation": False}], ids=["raw_scores", "vllm"])
async def test_log_odds_are_returned_when_asked_for(serve: Open, demo: Qwen3Reranker, body: dict[str, Any]) -> None:
    async with serve() as client:
        answer = await post(client, "/v1/rerank", query=QUERY, documents=[*DOCUMENTS, " "], **body)
    expected = demo.rank(QUERY, [*DOCUMENTS, " "])
    assert [one["relevance_score"] for one in answer["results"]] == near([max(one.logit, -750.0) for one in expected])
    assert expected[-1].logit == -math.inf


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        ({}, "truncate"),
        ({"truncate": True}, "truncate"),
        ({"windows": True}, "windows"),
        ({"long_documents": "windows", "truncate": True}, "windows"),
        ({"truncate": False}, "error"),
        ({"long_documents": "error"}, "error"),
    ],
    ids=str,
)
async def test_the_request_says_how_a_long_document_is_read(serve: Open, body: dict[str, Any], mode: Any) -> None:
    documents = [LONG + DOCUMENTS[1], DOCUMENTS[0]]
    reranker = Qwen3Reranker("demo", device="cpu", max_length=200)
    async with serve(reranker) as client:
        answer = await client.post("/v1/rerank", json={"query": QUERY, "documents": documents, **body})
        if mode == "error":
            assert answer.status_code == 422
            assert "long_documents" in answer.json()["message"]
            return
        found = answer.json()["results"]
        expected = await reranker.arank(QUERY, documents, long_documents=mode)
    assert [(one["index"], one["relevance_score"]) for one in found] == [
        (one.index, near(one.score)) for one in expected
    ]
    long = next(one for one in found if one["index"] == 0)
    if mode == "windows":
        assert DOCUMENTS[1] in documents[0][slice(*long["span"])]
    else:
        assert long["truncated_tokens"] > 200
    assert not {"span", "truncated_tokens"} & next(one for one in found if one["index"] == 1).keys()


async def test_documents_are_cut_to_max_tokens_per_doc_and_come_back_whole(serve: Open, demo: Qwen3Reranker) -> None:
    documents = [f"China {LONG}", DOCUMENTS[1], ""]
    async with serve() as client:
        cut = await post(client, "/v1/rerank", query=QUERY, documents=documents, max_tokens_per_doc=1)
        whole = await post(client, "/v1/rerank", query=QUERY, documents=documents, max_tokens_per_doc=4096)
    (one,) = [result for result in cut["results"] if result["index"] == 0]
    assert one["relevance_score"] == near(demo.score([(QUERY, "China")])[0])
    assert one["document"]["text"] == documents[0]
    assert one["truncated_tokens"] >= 400
    assert [result["relevance_score"] for result in whole["results"]] == near(
        [found.score for found in demo.rank(QUERY, documents)]
    )
