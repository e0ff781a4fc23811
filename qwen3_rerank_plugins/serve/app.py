"""The application: one reranker behind the endpoints of several protocols."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.reranker import Qwen3Reranker
from qwen3_rerank_plugins.serve.endpoints.openai import openai_endpoints
from qwen3_rerank_plugins.serve.endpoints.pages import OPEN_PATHS, pages
from qwen3_rerank_plugins.serve.endpoints.rerank import rerank_endpoints
from qwen3_rerank_plugins.serve.endpoints.score import score_endpoints
from qwen3_rerank_plugins.serve.failures import Failure, malformed
from qwen3_rerank_plugins.serve.guard import Guard
from qwen3_rerank_plugins.serve.metrics import Metrics
from qwen3_rerank_plugins.serve.ranking_service import RankingService
from qwen3_rerank_plugins.serve.readiness import Readiness
from qwen3_rerank_plugins.serve.request_log import RequestLog
from qwen3_rerank_plugins.serve.settings import ServeSettings, served_name

DESCRIPTION = "A Qwen3-Reranker behind the protocols of Cohere, Jina, Text Embeddings Inference and vLLM."


def create_app(
    reranker: Qwen3Reranker,
    settings: ServeSettings | None = None,
    *,
    on_failure: Callable[[Exception], None] | None = None,
) -> FastAPI:
    """Return an ASGI application. It loads the model when it starts, and closes the reranker when it stops.

    Args:
        reranker: that ranks all requests, with its instruction and its limits.
        settings: of the server; None is the default. The address is for `run_server` only.
        on_failure: called with the error if a model cannot be loaded.

    Raises:
        MissingExtraError: an embedding model is named, and the extra "embeddings" is not installed.
    """
    settings = settings or ServeSettings()
    embedder = None
    if settings.embedding_model is not None:
        from qwen3_rerank_plugins.serve.embedding_service import EmbeddingService, embedding_settings

        embedder = EmbeddingService(embedding_settings(settings.embedding_model, reranker.settings))
    metrics = Metrics()
    readiness = Readiness([reranker.warmup, *([embedder.warmup] if embedder else [])], on_failure)
    name = settings.name or served_name(reranker.settings.model)
    service = RankingService(reranker, name, settings.max_documents, readiness, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(readiness.load())
        yield
        loading.cancel()
        await asyncio.to_thread(reranker.close)

    app = FastAPI(
        title="Qwen3-Reranker",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its script from elsewhere
        redoc_url=None,
        exception_handlers={RequestValidationError: _raise_malformed, HTTPException: _raise_http},
    )
    routers = (
        rerank_endpoints(service),
        score_endpoints(service),
        openai_endpoints(service, embedder),
        pages(service),
    )
    for router in routers:
        app.include_router(router)
    paths = frozenset(route.path for router in routers for route in router.routes if isinstance(route, APIRoute))
    app.add_middleware(Guard, settings=settings, open_paths=OPEN_PATHS)
    app.add_middleware(RequestLog, metrics=metrics, paths=paths)
    return app


async def _raise_malformed(_: Request, error: RequestValidationError) -> Response:
    raise malformed(error.errors()) from None


async def _raise_http(_: Request, error: HTTPException) -> Response:
    told = "There is no such endpoint. /docs lists them." if error.status_code == 404 else str(error.detail)
    raise Failure(error.status_code, told) from None
