"""Errors: the status that fits, in the form that the clients of the endpoint read, and no text of the request."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, errors
from qwen3_rerank_plugins.serve.failures import failure_of
from tests.doubles import OverlapScorer
from tests.serve.conftest import DOCUMENTS, QUERY, Open

RERANK = {"query": QUERY, "documents": DOCUMENTS}
SECRET = "patient Miller"


def told(path: str, body: dict[str, Any]) -> str:
    """The message, as clients of the endpoint find it; all clients of `/rerank` find the same one."""
    if path.endswith(("score", "embeddings")):
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return str(body["error"]["message"])
    cohere, jina, tei = body["message"], body["detail"], body["error"]
    assert cohere == jina == tei
    assert body["error_type"]
    return str(cohere)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/rerank", {"documents": DOCUMENTS}, 422, "query: Field required"),
        ("/v2/rerank", {"query": SECRET}, 422, "documents: Field required"),
        ("/rerank", {"texts": [SECRET, 3], "query": SECRET}, 422, "texts[1]: Input should be a valid string"),
        ("/rerank", {"query": SECRET, "documents": ["a", {"title": "b"}]}, 422, "documents[1] has neither"),
        ("/rerank", {"query": SECRET, "documents": SECRET}, 422, "documents: Input should be a valid list"),
        ("/v1/rerank", {**RERANK, "top_n": -1}, 422, "top_n: Input should be greater than or equal to 0"),
        ("/v1/rerank", {**RERANK, "min_score": 3}, 422, "min_score: Input should be less than or equal to 1"),
        ("/v1/rerank", {**RERANK, "long_documents": SECRET}, 422, "long_documents: Input should be 'truncate'"),
        ("/v1/rerank", {"query": SECRET, "documents": ["a"] * 9}, 413, "9 documents are too many"),
        ("/score", {"text_1": SECRET}, 422, "documents: Field required"),
        ("/v1/score", {"text_1": SECRET, "text_2": ["a"] * 9}, 413, "9 documents are too many"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_the_place_and_without_the_text(
    serve: Open, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(max_documents=8) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == status
    assert message in told(path, answer.json())
    assert SECRET not in answer.text
    assert SECRET not in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/score"])
async def test_a_body_that_is_no_json_is_malformed(serve: Open, path: str) -> None:
    async with serve() as client:
        answer = await client.post(path, content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, told(path, answer.json())) == (400, "The body is not JSON.")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.RequestError("it"), 422),
        (errors.LongDocumentError("it"), 422),
        (errors.SettingsError("it"), 422),
        (errors.OverloadedError("it", retry_after=2.2), 429),
        (errors.NonFiniteScoreError("it"), 500),
        (errors.DeviceMemoryError("it"), 500),
        (errors.RemoteRefusedError("it"), 502),
        (errors.CheckpointNotFoundError("it"), 503),
        (errors.ClosedError("it"), 503),
        (errors.RerankTimeoutError("it"), 504),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_of_the_package_has_its_status(error: errors.RerankError, status: int) -> None:
    failure = failure_of(error)
    assert (failure.status, failure.message) == (status, "it")
    assert failure.headers.get("Retry-After") == {429: "3", 503: "5"}.get(status)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.OverloadedError("Too much is waiting.", retry_after=7), 429, "7"),
        (errors.RerankTimeoutError("It took too long."), 504, None),
        (errors.PassError("The pass failed."), 500, None),
    ],
    ids=["overloaded", "late", "failed"],
)
@pytest.mark.parametrize("path", ["/rerank", "/score"])
async def test_an_error_of_the_engine_reaches_the_client(
    serve: Open, path: str, error: Exception, status: int, retry_after: str | None
) -> None:
    body = {"text_1": QUERY, "text_2": DOCUMENTS} if path == "/score" else RERANK
    async with serve(Qwen3Reranker("m", scorer=OverlapScorer(error))) as client:
        answer = await client.post(path, json=body)
    assert (answer.status_code, told(path, answer.json())) == (status, str(error))
    assert answer.headers.get("Retry-After") == retry_after


@pytest.mark.asyncio
async def test_an_error_that_nobody_expected_says_where_to_look_and_nothing_else(
    serve: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(Qwen3Reranker("m", scorer=OverlapScorer(KeyError(SECRET)))) as client:
        answer = await client.post("/v1/rerank", json=RERANK, headers={"X-Request-ID": "req-1"})
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert "req-1" in told("/v1/rerank", answer.json())
    assert any(record.exc_info and "req-1" in record.getMessage() for record in caplog.records)


@pytest.mark.asyncio
async def test_an_endpoint_that_is_not_there_and_a_wrong_method_are_named(serve: Open) -> None:
    async with serve() as client:
        missing = await client.post("/v3/rerank", json=RERANK)
        wrong = await client.get("/v1/rerank")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert "/docs" in told("/v3/rerank", missing.json())
