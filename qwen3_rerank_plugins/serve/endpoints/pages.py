"""What is no protocol: `/health`, `/metrics`, the page to look at, and the documentation of the endpoints.

The pages are plain files of this package. They load nothing from elsewhere, and the headers of the server forbid it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from qwen3_rerank_plugins.serve.metrics import CONTENT_TYPE
from qwen3_rerank_plugins.serve.ranking_service import RankingService

_FOLDER = files("qwen3_rerank_plugins.serve") / "playground"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FILES = {
    "/": "index.html",
    "/docs": "docs.html",
    **{
        f"/playground/{name}": name
        for name in ("style.css", "icon.svg", "documents.js", "ranking.js", "results.js", "playground.js", "docs.js")
    },
}
"""The files of the pages, by their path on the server."""
OPEN_PATHS = frozenset({*FILES, "/health", "/openapi.json"})
"""Paths that need no API key. The page asks for the key and sends it along."""


def pages(service: RankingService) -> APIRouter:
    """Return the endpoints as a router."""
    router = APIRouter(tags=["server"])

    @router.get("/health", responses={503: {"description": "The model is being loaded, or could not be loaded."}})
    async def health() -> JSONResponse:
        """Say whether requests can be answered: only once the model is loaded and has run."""
        ready = service.readiness.state == "ready"
        return JSONResponse(
            {"status": "ok" if ready else service.readiness.state, "model": service.name}, 200 if ready else 503
        )

    @router.get("/metrics", response_class=Response)
    async def numbers() -> Response:
        """Return numbers about the requests, in the text format of Prometheus."""
        return Response(service.metrics.text(service.stats()), media_type=CONTENT_TYPE)

    for path, file in FILES.items():
        router.add_api_route(path, _file(file), methods=["GET"], include_in_schema=False)
    return router


def _file(name: str) -> Any:
    content = (_FOLDER / name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def answer() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8")

    return answer
