"""Lets a request in, or refuses it: its API key, where it comes from, and the size of its body.

The whole body is read before the application sees the request. From then on a client that hangs up cancels the request,
and what has not been scored yet never is.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3_rerank_plugins.serve.failures import Failure
from qwen3_rerank_plugins.serve.settings import ServeSettings, is_loopback

_KEY_HEADERS = ("authorization", "x-api-key", "api-key")
"""Where clients put an API key. All public clients of these protocols use the first."""


class Guard:
    """ASGI middleware that raises a `Failure` for a request that it refuses.

    Args:
        app: that gets the other requests.
        settings: with the key and the limit.
        open_paths: that need no key, because they hold nothing of anyone.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, open_paths: frozenset[str]) -> None:
        self._app = app
        self._settings = settings
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if scope["path"] not in self._open_paths:
            self._check_key(headers)
        body = await self._read(headers, receive)
        if body is not None:
            await self._run(scope, body, receive, send)

    def _check_key(self, headers: Mapping[str, str]) -> None:
        key = self._settings.api_key
        if key is None:
            return
        given = [_without_scheme(headers[name]) for name in _KEY_HEADERS if name in headers]
        if not any(hmac.compare_digest(one.encode(), key.encode()) for one in given):
            wrong = "another API key" if given else "an API key, as 'Authorization: Bearer KEY'"
            raise Failure(401, f"This server wants {wrong}.")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites, which a browser would let send requests to this machine."""
        host = headers.get("host", "")
        if self._settings.is_local and self._settings.api_key is None and not is_loopback(_name_of(f"//{host}")):
            raise Failure(403, "This server answers at the names of this machine only. Set an API key to allow others.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Failure(403, "This server does not answer pages of other sites.")

    async def _read(self, headers: Mapping[str, str], receive: Receive) -> bytes | None:
        """Return the body; None if the client has hung up."""
        most = self._settings.max_body_bytes
        stated = headers.get("content-length", "")
        too_large = Failure(413, f"The body is larger than {most:,} bytes, the limit of a request. Send less at once.")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > most:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)

    async def _run(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the application, and cancel it when the client hangs up."""
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        running = asyncio.ensure_future(self._app(scope, replay, send))
        watching = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
            await running
        except asyncio.CancelledError:
            if not running.cancelled():
                raise  # the server itself is stopped
        finally:
            running.cancel()
            watching.cancel()


def _without_scheme(value: str) -> str:
    scheme, _, rest = value.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value.strip()


def _name_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
