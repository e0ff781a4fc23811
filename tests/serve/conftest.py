"""Applications over the demo checkpoint, or over a double, and clients that ask them without a network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.serve import ServeSettings, create_app

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", "The capital of Japan is Tokyo."]
HOME = "http://127.0.0.1:8000"

Client = httpx.AsyncClient
Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def demo() -> Iterator[Qwen3Reranker]:
    """The demo checkpoint, kept loaded for all tests."""
    with Qwen3Reranker("demo", device="cpu") as reranker:
        reranker.warmup()
        yield reranker


@contextlib.asynccontextmanager
async def running(app: FastAPI, *, ready: bool = True) -> AsyncIterator[Client]:
    """A client of an application that has started; with `ready`, its model is loaded."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME) as client,
    ):
        while ready and (await client.get("/health")).status_code != 200:
            await asyncio.sleep(0.005)
        yield client


@pytest.fixture
def serve(demo: Qwen3Reranker) -> Open:
    """Starts applications over the demo, or over another reranker."""

    def start(reranker: Qwen3Reranker | None = None, **settings: Any) -> AbstractAsyncContextManager[Client]:
        own = reranker or Qwen3Reranker("demo", device="cpu")  # shares the loaded model
        return running(create_app(own, ServeSettings(**settings)))

    return start


async def post(client: Client, path: str, **body: Any) -> Any:
    """The JSON of an answer with status 200."""
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def near(expected: Any) -> Any:
    """Equal but for rounding, which depends on what shares a batch."""
    return pytest.approx(expected, abs=1e-4)
