"""The HTTP client of one server. It retries transient failures.

This module raises `MissingExtraError` without the extra "remote". The errors of the HTTP libraries are never chained to
this package's errors, because their frames hold the API key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.errors import (
    ClosedError,
    MissingExtraError,
    RemoteAnswerError,
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
    SettingsError,
)
from qwen3_rerank_plugins.remote.environment import certificates, find_proxy
from qwen3_rerank_plugins.remote.failures import KEY_WANTED, Attempt, Failures
from qwen3_rerank_plugins.remote.fair_queue import Turns
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.response_body import LARGEST_ANSWER, UnreadableError, json_of, read_body
from qwen3_rerank_plugins.remote.settings import RemoteSettings

try:
    import httpx
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise  # httpx is installed, and one of its dependencies is missing
    raise MissingExtraError("httpx", "remote") from error
try:
    import tenacity
except ModuleNotFoundError as error:
    if error.name != "tenacity":
        raise
    raise MissingExtraError("tenacity", "remote") from error

_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500
_PERMANENT = (501, 505)
"""Server errors that stay: the server does not support the method, or the version of HTTP."""
_LONGEST_WAIT = 30.0
"""Seconds between two attempts, even if the server asks for more."""
_OWN_WAIT = tenacity.wait_exponential(multiplier=0.25, max=8) + tenacity.wait_random(0, 0.25)


class HttpClient:
    """Sends requests to one server. All methods run on one event loop.

    Args:
        settings: of the connection.
        closing: stops waiting for further attempts once it is set.

    Attributes:
        redaction: makes the server's text safe to show.

    Raises:
        SettingsError: an environment variable names a proxy or certificates that cannot be used.
    """

    def __init__(self, settings: RemoteSettings, closing: asyncio.Event) -> None:
        self._settings = settings
        self._closing = closing
        self._turns = Turns(settings.requests_at_once)
        self._proxy = find_proxy(settings.url)
        self.redaction = Redaction([settings.api_key, *(self._proxy.secrets if self._proxy else ())])
        self._failures = Failures(settings, self._proxy, self.redaction)
        self._client = self._connect()
        self.redaction.watch_logs()

    async def post(self, url: str, body: dict[str, Any], call: Call | None = None) -> Any:
        """Send JSON and return the JSON of the answer.

        Args:
            url: of the endpoint.
            body: the JSON to send.
            call: its requests take turns with those of other calls for the connections. A timeout of its own replaces
                that of the settings.

        Raises:
            RemoteUnreachableError: no answer within the timeout, or none after all attempts.
            RemoteRefusedError: the status is not 200, also after all attempts if another one may help.
            RemoteAnswerError: the answer is not JSON, or too large.
            ClosedError: the connection was closed before another attempt.
        """
        content = json.dumps(body).encode()  # ASCII, so that any text arrives unchanged
        return await self._ask("POST", url, content, call or Call())

    async def get(self, url: str) -> Any:
        """Return the JSON at a URL, or None if there is none.

        Raises:
            RemoteUnreachableError: as `post`.
            RemoteRefusedError: the server wants another key, or still fails after all attempts.
        """
        try:
            return await self._ask("GET", url, b"", Call())
        except RemoteAnswerError:
            return None
        except RemoteRefusedError as error:
            if error.status in KEY_WANTED or _is_transient(error):
                raise
            return None

    async def close(self) -> None:
        """Close the connections."""
        self.redaction.leave_logs()
        await self._client.aclose()

    def _connect(self) -> httpx.AsyncClient:
        key, proxy = self._settings.api_key, self._proxy
        context = certificates(httpx.create_ssl_context)
        headers = {"Accept-Encoding": "identity", "Accept": "application/json"}
        with contextlib.suppress(httpx.InvalidURL, ValueError, ImportError):
            return httpx.AsyncClient(
                headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
                timeout=None,  # `_send` limits the whole request instead
                limits=httpx.Limits(max_keepalive_connections=self._settings.requests_at_once),
                verify=context,
                proxy=httpx.Proxy(proxy.url) if proxy else None,
                trust_env=False,  # `environment` has read it
            )
        raise SettingsError(
            f"{proxy and proxy.variable} is not the URL of a proxy that can be used. Correct it, or unset it."
        )

    async def _ask(self, method: str, url: str, content: bytes, call: Call) -> Any:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=_wait,
            sleep=self._pause,
            stop=lambda state: self._closing.is_set() or state.attempt_number > self._settings.retries,
            reraise=True,
        )

        async def attempt() -> Any:
            async with self._turns.turn(call):
                one = Attempt(method, url, content, retrying.statistics["attempt_number"])
                with call.computing():
                    return await self._send(one, self._settings.timeout if call.timeout is None else None)

        return await retrying(attempt)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt. Closing the connection ends the wait with an error."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
            raise ClosedError("This connection was closed before the server could be asked again. Make a new one.")

    async def _send(self, attempt: Attempt, seconds: float | None) -> Any:
        failure: RemoteError
        status: int | None = None
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(
                    attempt.method,
                    attempt.url,
                    content=attempt.content or None,
                    headers={"Content-Type": "application/json"} if attempt.content else None,
                ) as response,
            ):
                status = response.status_code
                if status == httpx.codes.OK:
                    return await self._json(response, attempt)
                failure = await self._failures.refusal(attempt, response)
        except TimeoutError:
            failure = self._failures.timeout(attempt, status)
        except RemoteError as error:
            failure = error
        except (httpx.HTTPError, OSError) as error:
            failure = self._failures.broken(attempt, error)
        except (httpx.InvalidURL, ValueError) as error:
            failure = self._failures.invalid_url(attempt, error)
        raise failure

    async def _json(self, response: httpx.Response, attempt: Attempt) -> Any:
        limit = LARGEST_ANSWER + len(attempt.content)
        body = b""
        try:
            body, complete = await read_body(response.aiter_raw(), response.headers.get("Content-Encoding", ""), limit)
            if complete:
                return json_of(body)
            found = f"more than {limit:,} bytes, the limit of an answer"
        except UnreadableError as error:
            found = str(error)
        failure = self._failures.not_json(attempt, found, body, response.charset_encoding)
        raise failure


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, RemoteUnreachableError):
        return error.again
    if not isinstance(error, RemoteRefusedError) or error.status in _PERMANENT:
        return False
    return error.status == _TOO_MANY_REQUESTS or error.status >= _SERVER_ERROR


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds before the next attempt: more after each attempt, and at least what the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RemoteRefusedError) else None
    return min(max(_OWN_WAIT(state), asked or 0.0), _LONGEST_WAIT)
