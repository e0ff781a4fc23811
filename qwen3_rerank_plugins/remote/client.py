"""HTTP: one address, one key, a few connections. What fails for a moment is tried again.

This is the door of the extra `remote`. Failures are errors of our own tree; they are raised outside of the handlers, so
that the client's own errors, whose frames hold the key, do not stand behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

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
from qwen3_rerank_plugins.remote.fair_queue import Turns
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.response_body import LARGEST_ANSWER, UnreadableError, json_of, read_body, text_of
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
_NEVER = (501, 505)
"""The server's fault, and one that stays: it does not know the method, or the version of HTTP."""
_KEY_WANTED = (401, 403)
_TOO_LARGE = 413
_LARGEST_REFUSAL = 64 * 1024
"""Bytes that are read of an answer whose status is not 200."""
_LONGEST_WAIT = 30.0
"""Seconds between two attempts, even if the server asks for more."""
_OWN_WAIT = tenacity.wait_exponential(multiplier=0.25, max=8) + tenacity.wait_random(0, 0.25)


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    """One request on its way.

    Attributes:
        method, url, content: of the request.
        number: of the attempt, from 1.
    """

    method: str
    url: str
    content: bytes
    number: int

    @property
    def times(self) -> str:
        """For messages: how often the request was sent, if it was more than once."""
        return f", {self.number} times" if self.number > 1 else ""


class HttpClient:
    """Asks one server. All of it runs on one event loop.

    Args:
        settings: where, with which key, how patiently.
        closing: set when nobody is to wait for another attempt any more.

    Attributes:
        redaction: makes what the server says safe to show.

    Raises:
        SettingsError: an environment variable names a proxy or certificates that cannot be used.
    """

    def __init__(self, settings: RemoteSettings, closing: asyncio.Event) -> None:
        self._settings = settings
        self._closing = closing
        self._turns = Turns(settings.requests_at_once)
        self._proxy = find_proxy(settings.url)
        self.redaction = Redaction([settings.api_key, *(self._proxy.secrets if self._proxy else ())])
        self._client = self._connect()
        self.redaction.watch_logs()

    async def post(self, url: str, body: dict[str, Any], caller: object = None) -> Any:
        """Send JSON, get JSON.

        Args:
            url: where to.
            body: what to send.
            caller: who takes turns with others for the connections.

        Raises:
            RemoteUnreachableError: no answer, after all attempts or within the timeout.
            RemoteRefusedError: an answer with a status other than 200, after all attempts where another may help.
            RemoteAnswerError: an answer that is not JSON, or too large.
            ClosedError: the connection was closed before another attempt.
        """
        content = json.dumps(body).encode()  # in ASCII: whatever a text holds, it arrives
        return await self._ask("POST", url, content, caller)

    async def get(self, url: str) -> Any:
        """JSON that a server may have there; None if it has not.

        Raises:
            RemoteUnreachableError: no answer, as above.
            RemoteRefusedError: the server wants another key, or is in trouble.
        """
        try:
            return await self._ask("GET", url, b"", None)
        except RemoteAnswerError:
            return None
        except RemoteRefusedError as error:
            if error.status in _KEY_WANTED or _may_pass(error):
                raise
            return None

    async def close(self) -> None:
        """Close the connections."""
        self.redaction.leave_logs()
        await self._client.aclose()

    def _connect(self) -> httpx.AsyncClient:
        key, proxy = self._settings.api_key, self._proxy
        variable = proxy.variable if proxy else None
        context = certificates(_default_context)
        headers = {"Accept-Encoding": "identity", "Accept": "application/json"}
        with contextlib.suppress(httpx.InvalidURL, ValueError, ImportError):
            return httpx.AsyncClient(
                headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
                timeout=None,  # the one around the whole request counts
                limits=httpx.Limits(max_keepalive_connections=self._settings.requests_at_once),
                verify=context,
                proxy=httpx.Proxy(proxy.url) if proxy else None,
                trust_env=False,  # `surroundings` has read it
            )
        raise SettingsError(f"{variable} is not the URL of a proxy that can be used. Correct it, or unset it.")

    async def _ask(self, method: str, url: str, content: bytes, caller: object) -> Any:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=_wait,
            sleep=self._pause,
            stop=lambda state: self._closing.is_set() or state.attempt_number > self._settings.retries,
            reraise=True,
        )

        async def attempt() -> Any:
            async with self._turns.turn(caller):
                return await self._send(_Attempt(method, url, content, retrying.statistics["attempt_number"]))

        return await retrying(attempt)

    async def _pause(self, seconds: float) -> None:
        """Wait for the next attempt, or until the connection is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
            raise ClosedError("This connection was closed before the server could be asked again. Make a new one.")

    async def _send(self, attempt: _Attempt) -> Any:
        failure: RemoteError
        begun = ""
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                self._client.stream(
                    attempt.method,
                    attempt.url,
                    content=attempt.content or None,
                    headers={"Content-Type": "application/json"} if attempt.content else None,
                ) as response,
            ):
                begun = f" It had begun, with status {response.status_code}."
                if response.status_code == httpx.codes.OK:
                    return await self._json(response, attempt)
                failure = await self._refusal(response, attempt)
        except TimeoutError:
            failure = RemoteUnreachableError(
                f"{self.redaction.quote(attempt.url)} gave no whole answer within timeout={self._settings.timeout} "
                f"seconds.{begun} Raise timeout, or send less at once.",
                again=False,  # it is at work on it: the same once more would only be more work
            )
        except RemoteError as error:
            failure = error
        except (httpx.HTTPError, OSError) as error:
            failure = self._broken(attempt, error)
        except (httpx.InvalidURL, ValueError) as error:
            failure = RemoteUnreachableError(
                f"{self.redaction.quote(attempt.url)} cannot be asked: {self.redaction.quote(str(error))}. Check "
                "remote=URL.",
                again=False,
            )
        raise failure

    async def _json(self, response: httpx.Response, attempt: _Attempt) -> Any:
        most = LARGEST_ANSWER + len(attempt.content)
        body = b""
        try:
            body, whole = await read_body(response.aiter_raw(), response.headers.get("Content-Encoding", ""), most)
            if whole:
                return json_of(body)
            found = f"more than {most:,} bytes, the limit of an answer"
        except UnreadableError as error:
            found = self.redaction.quote(str(error))
        beginning = self.redaction.quote(text_of(body[:_LARGEST_REFUSAL], response.charset_encoding))
        raise RemoteAnswerError(
            f"{self.redaction.quote(attempt.url)} answered with {found}: {beginning!r}. Check remote=URL and "
            "protocol=..."
        )

    async def _refusal(self, response: httpx.Response, attempt: _Attempt) -> RemoteRefusedError:
        status = response.status_code
        try:
            encoding = response.headers.get("Content-Encoding", "")
            body, _ = await read_body(response.aiter_raw(), encoding, _LARGEST_REFUSAL)
            said = self._words(body, response.charset_encoding)
        except UnreadableError as error:
            said = self.redaction.quote(str(error))
        if status in _KEY_WANTED:
            said = "the server wants another api_key" if self._settings.api_key else "the server wants an api_key"
        elif response.is_redirect:
            said = f"it moved to {self.redaction.quote(_place(response.headers['Location']))}; pass that as remote=URL"
        elif status == _TOO_LARGE:
            said += ". Send less at once: RemoteSettings(documents_per_request=...), or split long texts"
        url = self.redaction.quote(attempt.url)
        return RemoteRefusedError(
            f"{url} answered with status {status}{attempt.times}: {said}.",
            status=status,
            retry_after=_seconds(response.headers.get("Retry-After")),
        )

    def _words(self, body: bytes, charset: str | None) -> str:
        """What a server says about its refusal. JSON is read, as it may spell characters in several ways."""
        try:
            return self.redaction.quote(json_of(body))
        except UnreadableError:
            return self.redaction.quote(text_of(body, charset)) or "no message"

    def _broken(self, attempt: _Attempt, error: Exception) -> RemoteUnreachableError:
        """No connection, or one that broke."""
        distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        through = f" through the proxy that {self._proxy.variable} names" if self._proxy else ""
        remedy = "that the server runs, and remote=URL"
        if distrusted:
            remedy = "remote=URL, and that SSL_CERT_FILE or SSL_CERT_DIR has the certificate of who signed the server's"
        return RemoteUnreachableError(
            f"{self.redaction.quote(attempt.url)} could not be asked{through}{attempt.times}: {type(error).__name__}: "
            f"{self.redaction.quote(str(error)).rstrip('.')}. Check {remedy}.",
            again=not distrusted,
        )


def _default_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _place(location: str) -> str:
    """A URL without what may be a password or a token in it."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "another place"
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered a little later."""
    if isinstance(error, RemoteUnreachableError):
        return error.again
    if not isinstance(error, RemoteRefusedError) or error.status in _NEVER:
        return False
    return error.status == _TOO_MANY or error.status >= _SERVERS_FAULT


def _wait(state: tenacity.RetryCallState) -> float:
    """Longer from attempt to attempt, and at least as long as the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RemoteRefusedError) else None
    return min(max(_OWN_WAIT(state), asked or 0.0), _LONGEST_WAIT)


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; the form that is a date is left alone."""
    return float(header) if header and header.isascii() and header.isdigit() else None
