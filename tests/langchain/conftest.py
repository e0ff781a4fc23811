"""The compressor with the demo checkpoint for contract tests, and with a fake scorer for everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer

Compress = Callable[..., list[Document]]


@pytest.fixture(scope="session")
def model() -> str:
    """The checkpoint that the contract tests run."""
    return "demo"


@pytest.fixture
def compressor(model: str) -> Qwen3Rerank:
    return Qwen3Rerank(model=model, top_n=None)


@pytest.fixture(scope="session")
def fake() -> Callable[..., Qwen3Rerank]:
    """Makes compressors whose score is the number of words that query and document share."""
    return lambda scorer=None, **fields: Qwen3Rerank(
        reranker=Qwen3Reranker("demo", scorer=scorer or OverlapScorer()), **fields
    )


@pytest.fixture(params=["compress_documents", "acompress_documents"])
def compress(request: pytest.FixtureRequest) -> Compress:
    """Both methods of the contract, called alike."""

    def call(compressor: Qwen3Rerank, *args: Any, **kwargs: Any) -> list[Document]:
        found = getattr(compressor, request.param)(*args, **kwargs)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    return call
