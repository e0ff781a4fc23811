"""Requests that come at the same time share batches, and each gets its own answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.serve.conftest import Open, near, post

pytestmark = pytest.mark.asyncio
REQUESTS = 40


async def test_concurrent_requests_are_merged_into_fewer_passes(serve: Open, demo: Qwen3Reranker) -> None:
    queries = [f"What is the capital of country {number}?" for number in range(REQUESTS)]
    documents = [[f"The capital of country {number} is city {number}.", "Gravity"] for number in range(REQUESTS)]
    pairs = list(zip(queries, documents, strict=True))
    async with serve() as client:
        before = demo.stats().passes
        answers: list[Any] = await asyncio.gather(
            *(post(client, "/v1/rerank", query=query, documents=found) for query, found in pairs)
        )
        after = demo.stats().passes
    assert before is not None
    assert after is not None
    assert after - before < REQUESTS
    for (query, found), answer in zip(pairs, answers, strict=True):
        expected = demo.rank(query, found)
        assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [
            (one.index, near(one.score)) for one in expected
        ]
