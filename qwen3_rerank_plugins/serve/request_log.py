"""The outermost layer: an id for each request, one line of log, numbers, headers, and an answer to every failure.

Neither the log nor an error holds a text of a request: only the path of an endpoint, a status, a time and the id.
"""

from __future__ import annotations

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.errors import RerankError
from qwen3_rerank_plugins.serve.failures import Failure, failure_of
from qwen3_rerank_plugins.serve.metrics import Metrics

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_QUIET = ("/health", "/metrics")
"""Paths that programs ask for every few seconds; their lines would hide all others."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RequestLog:
    """ASGI middleware around everything else.

    Args:
        app: that answers the requests.
        metrics: that count them.
        paths: of the endpoints; others are logged as "other", because a client chose them.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status:
                raise  # the answer has begun
            failure = _failure_of(error, request_id)
            answer = JSONResponse(
                failure.body(scope["path"], request_id), failure.status, headers=dict(failure.headers)
            )
            await answer(scope, receive, send_with_headers)
        finally:
            self._note(scope, status, time.perf_counter() - began, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.answered(path, status or 499, seconds)
        if path not in _QUIET:
            shown = str(status) if status else "canceled by the client"
            logger.info("%s %s: %s, %.1f ms, id %s", scope["method"], path, shown, 1000 * seconds, request_id)


def _failure_of(error: Exception, request_id: str) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, RerankError):
        return failure_of(error)
    logger.error("The request %s failed.", request_id, exc_info=error)
    return Failure(500, f"The server failed. Its log has the reason, under the id {request_id}.")
