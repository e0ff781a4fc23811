"""HTTP: one address, one key, a few connections; what fails for a moment is tried again, what fails for good is ours.

Comes in: a path and JSON. Goes out: JSON, or an error from our own tree.
Must not know: what the JSON means. This is the door of the extra `remote`.

No error leaves with the client's own error behind it: its frames hold the headers, and these the key.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from qwen3_rerank_plugins.errors import (
    MissingExtraError,
    RemoteAnswerError,
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
)
from qwen3_rerank_plugins.remote.settings import RemoteSettings

try:
    import httpx
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("httpx", "remote") from error
try:
    import tenacity
except ModuleNotFoundError as error:
    if error.name != "tenacity":
        raise
    raise MissingExtraError("tenacity", "remote") from error

_TOO_MANY, _SERVERS_FAULT = 429, 500
_KEY_WANTED = (401, 403)
_TOO_LARGE = 413
_SHOWN = 300
"""Characters of a server's own message that an error quotes."""
_LONGEST_WAIT = 30.0
"""Seconds between two attempts, even if the server asks for more."""
_OWN_WAIT = tenacity.wait_exponential(multiplier=0.25, max=8) + tenacity.wait_random(0, 0.25)


class HttpClient:
    """Asks one server. All of it runs on one event loop.

    Args:
        settings: where, with which key, how patiently.
        closing: set when nobody waits for long any more: what has failed is then not tried again.
    """

    def __init__(self, settings: RemoteSettings, closing: threading.Event) -> None:
        self._settings = settings
        self._closing = closing
        key = settings.api_key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(settings.timeout, pool=None),  # to wait for a free connection is no fault
            limits=httpx.Limits(max_connections=settings.requests_at_once),
        )

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """Send JSON, get JSON.

        Raises:
            RemoteUnreachableError: no answer, after all attempts or within the timeout.
            RemoteRefusedError: an answer with a status other than 200, after all attempts where another may help.
            RemoteAnswerError: an answer that is not JSON.
        """
        return _parsed(await self._ask("POST", url, json.dumps(body)))  # in ASCII: whatever a text holds, it arrives

    async def get(self, url: str) -> Any:
        """JSON that a server may have there; None if it has not.

        Raises:
            RemoteUnreachableError: no answer, as above.
            RemoteRefusedError: the server wants another key, or is in trouble.
        """
        try:
            return _parsed(await self._ask("GET", url))
        except RemoteAnswerError:
            return None
        except RemoteRefusedError as error:
            if error.status in _KEY_WANTED or _may_pass(error):
                raise
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, url: str, content: str | None = None) -> httpx.Response:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=_wait,
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._settings.retries + 1), tenacity.stop_when_event_set(self._closing)
            ),
            reraise=True,
        )
        headers = {"Content-Type": "application/json"} if content else None

        async def attempt() -> httpx.Response:
            request = self._client.build_request(method, url, content=content, headers=headers)
            return await self._send(request, retrying.statistics["attempt_number"])

        return await retrying(attempt)

    async def _send(self, request: httpx.Request, attempt: int) -> httpx.Response:
        failure: RemoteError
        times = f", {attempt} times" if attempt > 1 else ""
        try:
            response = await self._client.send(request)
        except httpx.ReadTimeout:
            failure = RemoteUnreachableError(
                f"{request.url} gave no answer within timeout={self._settings.timeout} seconds. Raise timeout, or send "
                "less at once.",
                again=False,  # it is at work on it: the same once more would only be more work
            )
        except httpx.HTTPError as error:
            failure = RemoteUnreachableError(
                f"{request.url} could not be asked{times}: {type(error).__name__}: {self._without_key(error)}. Check "
                "that the server runs, and remote=URL.",
            )
        except httpx.InvalidURL as error:
            failure = RemoteUnreachableError(f"The address is no URL: {error}.", again=False)
        else:
            if response.status_code == httpx.codes.OK:
                return response
            failure = self._refusal(response, times)
        raise failure  # outside of the handlers, so that it has no context

    def _refusal(self, response: httpx.Response, times: str) -> RemoteRefusedError:
        status = response.status_code
        said = " ".join(self._without_key(response.text).split())[:_SHOWN]
        if status in _KEY_WANTED:
            said = "the server wants another api_key" if self._settings.api_key else "the server wants an api_key"
        elif response.is_redirect:
            said = f"it moved to {response.headers.get('Location', 'nowhere')}; pass that as remote=URL"
        elif status == _TOO_LARGE:
            said += ". Send less at once: RemoteSettings(documents_per_request=...), or split long texts"
        return RemoteRefusedError(
            f"{response.request.url} answered with status {status}{times}: {said}.",
            status=status,
            retry_after=_seconds(response.headers.get("Retry-After")),
        )

    def _without_key(self, said: object) -> str:
        key = self._settings.api_key
        return str(said).replace(key, "***") if key else str(said)


def _parsed(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        pass
    raise RemoteAnswerError(
        f"{response.request.url} answered with something else than JSON: {response.text!r:.200}. Check remote=URL and "
        "protocol=..."
    )


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered a little later."""
    if isinstance(error, RemoteUnreachableError):
        return error.again
    return isinstance(error, RemoteRefusedError) and (error.status == _TOO_MANY or error.status >= _SERVERS_FAULT)


def _wait(state: tenacity.RetryCallState) -> float:
    """Longer from attempt to attempt, and at least as long as the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RemoteRefusedError) else None
    return min(max(_OWN_WAIT(state), asked or 0.0), _LONGEST_WAIT)


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; the form that is a date is left alone."""
    return float(header) if header and header.isascii() and header.isdigit() else None
