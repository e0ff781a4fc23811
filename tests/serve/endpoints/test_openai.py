"""`/v1/models`, `/info` and `/v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest

from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request, query_prompt
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from tests.serve.conftest import Open, post

pytestmark = pytest.mark.asyncio
TEXTS = ["The capital of China is Beijing.", "Gravity"]


async def test_the_models_are_listed_by_name_and_without_a_path(serve: Open, embedding_checkpoint: Path) -> None:
    async with serve(embedding_model=str(embedding_checkpoint)) as client:
        listed = (await client.get("/v1/models")).json()
    assert [one["id"] for one in listed["data"]] == ["demo", embedding_checkpoint.name]
    assert {one["owned_by"] for one in listed["data"]} == {"qwen3-rerank-plugins"}


async def test_the_limit_of_documents_is_where_tei_clients_look_for_it(serve: Open) -> None:
    async with serve(max_documents=7) as client:
        assert (await client.get("/info")).json()["max_client_batch_size"] == 7


async def test_without_an_embedding_model_there_is_no_such_endpoint(serve: Open) -> None:
    async with serve() as client:
        answer = await client.post("/v1/embeddings", json={"input": "text"})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


async def test_vectors_are_those_of_the_model_in_both_encodings(serve: Open, embedding_checkpoint: Path) -> None:
    settings = EmbeddingSettings(model=str(embedding_checkpoint), device="cpu")
    embedder = LocalEmbedder(settings)
    documents = embedder.embed(make_request(TEXTS, EmbeddingOptions()))
    queries = embedder.embed(make_request(TEXTS, EmbeddingOptions(truncate_dim=8), query_prompt(None)))
    embedder.close()
    async with serve(embedding_model=str(embedding_checkpoint)) as client:
        plain = await post(client, "/v1/embeddings", input=TEXTS, model="any")
        one = await post(client, "/v1/embeddings", input=TEXTS[0], encoding_format="base64")
        short = await post(client, "/v1/embeddings", input=TEXTS, dimensions=8, input_type="query")
        too_many = await client.post("/v1/embeddings", json={"input": TEXTS, "dimensions": 10_000})
    assert [found["embedding"] for found in plain["data"]] == [pytest.approx(vector) for vector in documents]
    decoded = struct.unpack(f"<{len(documents[0])}f", base64.b64decode(one["data"][0]["embedding"]))
    assert decoded == pytest.approx(documents[0], abs=1e-6)
    assert [found["embedding"] for found in short["data"]] == [pytest.approx(vector) for vector in queries]
    assert plain["usage"]["prompt_tokens"] > one["usage"]["prompt_tokens"] > len(TEXTS[0].split())
    assert too_many.status_code == 422
    assert "truncate_dim" in too_many.json()["error"]["message"]
