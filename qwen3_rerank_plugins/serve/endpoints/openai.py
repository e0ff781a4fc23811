"""OpenAI's `/v1/models` and `/v1/embeddings`, and the `/info` of Text Embeddings Inference."""

from __future__ import annotations

import array
import base64
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.serve.endpoints.answers import Tokens, tokens_of
from qwen3_rerank_plugins.serve.ranking_service import RankingService

if TYPE_CHECKING:  # it needs the extra "embeddings"
    from qwen3_rerank_plugins.serve.embedding_service import EmbeddingService

OWNER = "qwen3-rerank-plugins"
"""The owner of the models. `remote=` recognizes the server by it."""


class EmbeddingBody(BaseModel):
    """A request for vectors."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    input: str | list[str] = Field(description="A text, or texts. Token ids are not accepted.")
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="Numbers to keep of each vector.")
    instruction: str | None = Field(default=None, description="What to search for; makes the texts queries.")
    input_type: str | None = Field(default=None, description='"query" or "search_query" makes the texts queries.')

    @property
    def is_query(self) -> bool:
        """Whether the texts are queries, which get the model's prompt."""
        return self.instruction is not None or self.input_type in ("query", "search_query")


class Embedding(BaseModel):
    """The vector of one text: numbers, or the base64 of 32-bit numbers in little-endian order."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(BaseModel):
    """The vectors of a request, in the order of the texts."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: Tokens


def openai_endpoints(service: RankingService, embedding: EmbeddingService | None) -> APIRouter:
    """Return the endpoints as a router; without an embedding model there is no `/v1/embeddings`."""
    router = APIRouter(tags=["models"])
    names = [service.name, *([embedding.name] if embedding else [])]
    started = int(time.time())

    @router.get("/models")
    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the models."""
        listed = [{"id": name, "object": "model", "created": started, "owned_by": OWNER} for name in names]
        return {"object": "list", "data": listed}

    @router.get("/info")
    async def info() -> dict[str, Any]:
        """Describe the server as Text Embeddings Inference does."""
        return {
            "model_id": service.name,
            "model_type": {"reranker": {}},
            "max_client_batch_size": service.max_documents,
            "version": __version__,
        }

    if embedding is not None:

        @router.post("/v1/embeddings")
        async def embeddings(body: EmbeddingBody) -> EmbeddingAnswer:
            """Return one unit vector for each text."""
            service.readiness.check()
            texts = [body.input] if isinstance(body.input, str) else body.input
            service.check_count(len(texts))
            vectors, tokens = await embedding.embed(
                texts, is_query=body.is_query, instruction=body.instruction, dimensions=body.dimensions
            )
            encode = _base64 if body.encoding_format == "base64" else list
            return EmbeddingAnswer(
                model=embedding.name,
                data=[Embedding(index=index, embedding=encode(vector)) for index, vector in enumerate(vectors)],
                usage=tokens_of(tokens),
            )

    return router


def _base64(vector: list[float]) -> str:
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
