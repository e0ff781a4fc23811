"""`/health`, `/metrics`, the documentation and the files of the page."""

from __future__ import annotations

import re
import threading
from importlib.resources import files
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from qwen3_rerank_plugins.serve import create_app
from qwen3_rerank_plugins.serve.endpoints.pages import FILES
from tests.doubles import OverlapScorer
from tests.serve.conftest import DOCUMENTS, QUERY, Open, post, running

FOLDER = files("qwen3_rerank_plugins.serve") / "playground"
SCRIPTS = [file for file in FILES.values() if file.endswith(".js")]


class Slow(OverlapScorer):
    """A scorer that is loaded when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def warmup(self) -> None:
        self.go_on.wait()


@pytest.mark.asyncio
async def test_the_server_is_ready_once_the_model_has_run() -> None:
    scorer = Slow()
    async with running(create_app(Qwen3Reranker("m", scorer=scorer)), ready=False) as client:
        early = await client.get("/health")
        refused = await client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
        scorer.go_on.set()
        while (late := await client.get("/health")).status_code != 200:
            pass
        await post(client, "/v1/rerank", query=QUERY, documents=DOCUMENTS)
    assert (early.status_code, early.json()["status"]) == (503, "loading")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert late.json() == {"status": "ok", "model": "m"}
    assert len(scorer.requests) == 1


@pytest.mark.asyncio
async def test_a_model_that_cannot_be_loaded_is_reported() -> None:
    failures: list[Exception] = []
    app = create_app(Qwen3Reranker("./nowhere"), on_failure=failures.append)
    async with running(app, ready=False) as client:
        while (answer := await client.get("/health")).json()["status"] == "loading":
            pass
        refused = await client.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS})
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")
    assert refused.status_code == 503
    assert [type(error) for error in failures] == [CheckpointNotFoundError]


@pytest.mark.asyncio
async def test_the_numbers_count_requests_documents_and_tokens_and_hold_no_text(serve: Open) -> None:
    async with serve() as client:
        await post(client, "/v1/rerank", query=QUERY, documents=DOCUMENTS, model="a name of the client's")
        await client.post("/v1/rerank", json={"query": QUERY})
        await client.get("/a/path/of/the/clients")
        text = (await client.get("/metrics")).text
    numbers = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
    assert float(numbers['qwen3_rerank_requests_total{path="/v1/rerank",status="200"}']) == 1
    assert float(numbers['qwen3_rerank_requests_total{path="/v1/rerank",status="422"}']) == 1
    assert float(numbers['qwen3_rerank_requests_total{path="other",status="404"}']) == 1
    assert float(numbers['qwen3_rerank_request_seconds_count{path="/v1/rerank"}']) == 2
    assert float(numbers["qwen3_rerank_documents_total"]) == 3
    assert float(numbers["qwen3_rerank_tokens_total"]) > 0
    assert not [word for word in (QUERY, *DOCUMENTS, "client") if word in text]


@pytest.mark.asyncio
async def test_every_answer_carries_a_strict_policy(serve: Open) -> None:
    async with serve() as client:
        for path in [*FILES, "/v1/models", "/nothing"]:
            headers = (await client.get(path)).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
            assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
            assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
            assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.asyncio
async def test_the_description_of_the_endpoints_is_complete(serve: Open) -> None:
    async with serve() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/v1/models", "/health"} <= set(paths)
    operations: list[Any] = [operation for methods in paths.values() for operation in methods.values()]
    assert all(operation.get("description") for operation in operations)


def test_every_file_of_the_page_is_served() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(FILES.values())


@pytest.mark.parametrize("name", FILES.values())
def test_the_page_loads_nothing_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?:|//\w+\.\w+|@import|url\(", text)
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_a_text(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    dangerous = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|createContextualFragment"
    assert not re.findall(rf"{dangerous}|\beval\b|new Function|setTimeout\(['\"`]", text)
