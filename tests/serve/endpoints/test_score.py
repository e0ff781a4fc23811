"""vLLM's `/score`: pairs in their order, under any of the names of the fields."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.serve.conftest import DOCUMENTS, QUERY, Open, near, post

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("first", "second"), [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2"), ("queries", "items")]
)
async def test_one_query_is_scored_with_every_document(
    serve: Open, demo: Qwen3Reranker, path: str, first: str, second: str
) -> None:
    async with serve() as client:
        answer = await post(client, path, **{first: QUERY, second: DOCUMENTS})
    expected = demo.score([(QUERY, document) for document in DOCUMENTS])
    assert [(one["index"], one["object"], one["score"]) for one in answer["data"]] == [
        (index, "score", near(score)) for index, score in enumerate(expected)
    ]
    assert (answer["object"], answer["model"]) == ("list", "demo")
    assert answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("queries", "documents"),
    [("a b", "b c"), (["a b"], ["b", "c"]), (["a", "b", "a"], ["a", "a", "b"]), ([QUERY, "gravity"], DOCUMENTS[:2])],
    ids=["two texts", "one query", "queries again", "as many"],
)
async def test_pairs_keep_their_order(serve: Open, demo: Qwen3Reranker, queries: Any, documents: Any) -> None:
    left, right = ([one] if isinstance(one, str) else one for one in (queries, documents))
    pairs = list(zip(left * (len(right) if len(left) == 1 else 1), right, strict=True))
    async with serve() as client:
        answer = await post(client, "/score", text_1=queries, text_2=documents)
    assert [one["score"] for one in answer["data"]] == near(demo.score(pairs))


async def test_log_odds_and_an_instruction_are_there_for_the_asking(serve: Open, demo: Qwen3Reranker) -> None:
    instruction = "Given a question, retrieve passages about physics"
    async with serve() as client:
        answer = await post(
            client, "/score", text_1=QUERY, text_2=DOCUMENTS, use_activation=False, instruction=instruction
        )
    expected = {one.index: one.logit for one in demo.rank(QUERY, DOCUMENTS, instruction=instruction)}
    assert [one["score"] for one in answer["data"]] == near([expected[index] for index in range(3)])


async def test_two_queries_for_three_documents_are_refused_as_vllms_clients_read_it(serve: Open) -> None:
    async with serve() as client:
        answer = await client.post("/score", json={"text_1": ["a", "b"], "text_2": DOCUMENTS})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("There are 2 queries and 3 documents.")
    assert answer.json()["error"]["code"] == 422
