"""The errors for requests that a server did not answer usefully. Each one is safe to show and says what to do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qwen3_rerank_plugins.errors import RemoteAnswerError, RemoteRefusedError, RemoteUnreachableError
from qwen3_rerank_plugins.remote.environment import Proxy
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.response_body import UnreadableError, json_of, read_body, text_of
from qwen3_rerank_plugins.remote.settings import RemoteSettings

if TYPE_CHECKING:
    import httpx

KEY_WANTED = (401, 403)
"""Statuses of a server that wants an API key, or another one."""
_TOO_LARGE = 413
_LARGEST_REFUSAL = 64 * 1024
"""Bytes to read of an answer whose status is not 200."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a request.

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
        """For messages: how often the request was sent, if more than once."""
        return f", {self.number} times" if self.number > 1 else ""


class Failures:
    """Makes the errors of one connection.

    Args:
        settings: of the connection.
        proxy: through which the server is reached; None if it is reached directly.
        redaction: makes the server's text safe to show.
    """

    def __init__(self, settings: RemoteSettings, proxy: Proxy | None, redaction: Redaction) -> None:
        self._settings = settings
        self._proxy = proxy
        self._quote = redaction.quote

    def timeout(self, attempt: Attempt, status: int | None) -> RemoteUnreachableError:
        """The time is up. `status` is that of an answer that had begun."""
        begun = "" if status is None else f" It had begun, with status {status}."
        return RemoteUnreachableError(
            f"{self._quote(attempt.url)} gave no complete answer within timeout={self._settings.timeout} seconds."
            f"{begun} Raise timeout, or send less at once.",
            again=False,  # the server is still working on it, so another attempt would only add work
        )

    def invalid_url(self, attempt: Attempt, error: Exception) -> RemoteUnreachableError:
        """The client cannot send a request to this URL."""
        return RemoteUnreachableError(
            f"{self._quote(attempt.url)} cannot be asked: {self._quote(str(error))}. Check remote=URL.", again=False
        )

    def broken(self, attempt: Attempt, error: Exception) -> RemoteUnreachableError:
        """There was no connection, or it broke."""
        distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        through = f" through the proxy that {self._proxy.variable} names" if self._proxy else ""
        remedy = "that the server runs, and remote=URL"
        if distrusted:
            remedy = "remote=URL, and that SSL_CERT_FILE or SSL_CERT_DIR has the certificate of who signed the server's"
        return RemoteUnreachableError(
            f"{self._quote(attempt.url)} could not be asked{through}{attempt.times}: {type(error).__name__}: "
            f"{self._quote(str(error)).rstrip('.')}. Check {remedy}.",
            again=not distrusted,
        )

    def not_json(self, attempt: Attempt, found: str, body: bytes, charset: str | None) -> RemoteAnswerError:
        """The answer is too large, or not JSON; `found` is a noun that says which."""
        beginning = self._quote(text_of(body[:_LARGEST_REFUSAL], charset))
        return RemoteAnswerError(
            f"{self._quote(attempt.url)} answered with {self._quote(found)}: {beginning!r}. Check remote=URL and "
            "protocol=..."
        )

    async def refusal(self, attempt: Attempt, response: httpx.Response) -> RemoteRefusedError:
        """The status is not 200."""
        status = response.status_code
        try:
            encoding = response.headers.get("Content-Encoding", "")
            body, _ = await read_body(response.aiter_raw(), encoding, _LARGEST_REFUSAL)
            said = self._message(body, response.charset_encoding)
        except UnreadableError as error:
            said = self._quote(str(error))
        if status in KEY_WANTED:
            said = "the server wants another api_key" if self._settings.api_key else "the server wants an api_key"
        elif response.is_redirect:
            said = f"it moved to {self._quote(_public_part(response.headers['Location']))}; pass that as remote=URL"
        elif status == _TOO_LARGE:
            said += ". Send less at once: RemoteSettings(documents_per_request=...), or split long texts"
        retry_after = response.headers.get("Retry-After", "")
        return RemoteRefusedError(
            f"{self._quote(attempt.url)} answered with status {status}{attempt.times}: {said}.",
            status=status,
            # the other form of this header is a date, which is ignored
            retry_after=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
        )

    def _message(self, body: bytes, charset: str | None) -> str:
        """The server's message. JSON is parsed first, because it can escape the characters of a secret."""
        try:
            return self._quote(json_of(body))
        except UnreadableError:
            return self._quote(text_of(body, charset)) or "no message"


def _public_part(location: str) -> str:
    """A URL without the parts that may be a password or a token."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "another place"
    return parts._replace(netloc=host, query="", fragment="").geturl()
