"""Judged sets made on the spot, and a reranker that counts shared words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.doubles import OverlapScorer

WriteSet = Callable[..., Path]


@pytest.fixture
def write_set(tmp_path: Path) -> WriteSet:
    """A set of (query, [(text, relevance or None)]) pairs."""

    def write(name: str, *queries: tuple[str, list[tuple[str, Any]]], **fields: Any) -> Path:
        rows = [
            {
                "query": query,
                "candidates": [
                    {"text": text} if relevance is None else {"text": text, "relevance": relevance}
                    for text, relevance in candidates
                ],
                **fields,
            }
            for query, candidates in queries
        ]
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return file

    return write


@pytest.fixture
def scorer() -> OverlapScorer:
    return OverlapScorer()


@pytest.fixture
def reranker(scorer: OverlapScorer) -> Qwen3Reranker:
    return Qwen3Reranker(scorer=scorer)


@pytest.fixture(scope="session")
def demo() -> Qwen3Reranker:
    return Qwen3Reranker("demo", device="cpu")
