"""Who is let in, and with how much; what the log says, and what it never says."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any

import httpx
import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.serve import ServeSettings, create_app
from tests.doubles import OverlapScorer
from tests.serve.conftest import DOCUMENTS, HOME, QUERY, Open, running

BODY = {"query": QUERY, "documents": DOCUMENTS}
KEY = "sk-0123"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"Authorization": KEY},
        {"X-API-Key": KEY},
        {"api-key": KEY},
    ],
    ids=str,
)
async def test_the_key_is_taken_from_where_clients_put_it(serve: Open, headers: dict[str, str]) -> None:
    async with serve(api_key=KEY) as client:
        assert (await client.post("/v1/rerank", json=BODY, headers=headers)).status_code == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {KEY}4"}, {"Authorization": "Bearer ü"}]
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/score", "/v1/models", "/metrics", "/nothing"])
async def test_without_the_key_nobody_is_let_in(serve: Open, headers: dict[str, str], path: str) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    async with serve(api_key=KEY) as client:
        method = "GET" if path in ("/v1/models", "/metrics") else "POST"
        answer = await client.request(method, path, json=BODY if method == "POST" else None, headers=encoded)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert KEY not in answer.text


@pytest.mark.asyncio
async def test_the_page_and_the_health_need_no_key(serve: Open) -> None:
    async with serve(api_key=KEY) as client:
        for path in ("/", "/docs", "/openapi.json", "/playground/playground.js", "/health"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True], ids=["with a length", "in pieces"])
async def test_a_body_that_is_too_large_is_refused(serve: Open, streamed: bool) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    async with serve(max_body_bytes=1000) as client:
        content: Any = pieces() if streamed else b"x" * 1001
        answer = await client.post("/rerank", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "1,000 bytes" in answer.json()["message"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8000"}, 403),
        ({"Origin": HOME}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
    ids=str,
)
async def test_pages_of_other_sites_cannot_use_a_server_on_this_machine(
    serve: Open, headers: dict[str, str], status: int
) -> None:
    async with serve() as client:
        assert (await client.post("/v1/rerank", json=BODY, headers=headers)).status_code == status


@pytest.mark.asyncio
async def test_with_a_key_any_name_of_the_server_will_do(serve: Open) -> None:
    headers = {"Host": "rerank.example", "Authorization": f"Bearer {KEY}"}
    async with serve(api_key=KEY) as client:
        assert (await client.post("/v1/rerank", json=BODY, headers=headers)).status_code == 200


@pytest.mark.asyncio
async def test_the_log_has_the_id_of_a_request_and_no_text(serve: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve() as client:
        own = await client.post("/v1/rerank", json=BODY, headers={"X-Request-ID": "req-7"})
        forged = await client.post("/v1/rerank", json=BODY, headers={"X-Request-ID": "a b"})
        other = await client.post(f"/{QUERY}", json=BODY)
    assert own.headers["X-Request-ID"] == own.json()["id"] == "req-7"
    assert forged.headers["X-Request-ID"] != "a b"
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name == "qwen3_rerank_plugins")
    assert "POST /v1/rerank: 200" in ours
    assert "id req-7" in ours
    assert "POST other: 404" in ours
    assert other.headers["X-Request-ID"] in ours
    assert not [text for text in (QUERY, *DOCUMENTS) if text in caplog.text]


class Waiting(OverlapScorer):
    """A scorer that never answers."""

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self.future: Future[Scores] = Future()
        self.requests.append(request)
        return self.future


@pytest.mark.asyncio
async def test_a_client_that_hangs_up_takes_its_request_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qwen3_rerank_plugins")
    scorer = Waiting()
    app = create_app(Qwen3Reranker("m", scorer=scorer))
    gone = asyncio.Event()

    async def hanging_up(scope: Any, receive: Any, send: Any) -> None:
        complete = False

        async def receive_until_gone() -> Any:
            nonlocal complete
            if not complete:
                message = await receive()
                complete = not message.get("more_body")
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        await app(scope, receive_until_gone, send)

    async with running(app) as client:
        other = httpx.AsyncClient(transport=httpx.ASGITransport(hanging_up), base_url=HOME)
        asking = asyncio.ensure_future(other.post("/v1/rerank", json=BODY))
        while not scorer.requests:
            await asyncio.sleep(0.005)
        gone.set()
        with pytest.raises(AssertionError):  # httpx's own, as there is no answer
            await asking
        assert scorer.future.cancelled()
        assert "qwen3_rerank_requests_in_progress 0.0" in (await client.get("/metrics")).text
        await other.aclose()
    assert "canceled by the client" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_can_reach_needs_a_key_or_a_second_word(host: str) -> None:
    with pytest.raises(SettingsError, match="--allow-anyone"):
        ServeSettings(host=host)
    assert not ServeSettings(host=host, api_key=KEY).is_local
    assert not ServeSettings(host=host, allow_anyone=True).is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_an_address_of_this_machine_needs_none(host: str) -> None:
    assert ServeSettings(host=host).is_local


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ServeSettings(api_key=KEY))
    for wrong in ("a b", "a\n"):
        with pytest.raises(SettingsError) as caught:
            ServeSettings(api_key=wrong)
        assert wrong not in str(caught.value)


@pytest.mark.parametrize("option", [{"port": 70_000}, {"max_documents": 0}, {"max_body_bytes": 0}], ids=str)
def test_a_number_out_of_its_range_is_refused(option: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(option))):
        ServeSettings(**option)
