"""Make a server's text safe to show: no secrets, no control characters, and not too long.

Every message about a server passes through `Redaction`: quoted text, whole errors, and the HTTP client's log records.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import re
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from qwen3_rerank_plugins.errors import RemoteError, RerankError, fresh

_SHOWN = 300
"""Characters of a server's text that a message quotes."""
_READ = 20_000
"""Characters of a server's text that are searched for the quote."""
_SHORT = 8
"""Characters. A shorter secret may be part of ordinary words, so it is only hidden where it is a separate word."""
_GIVEAWAY = 12
"""Characters from the start of a secret that are hidden even if the rest is missing."""
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?")
"""Terminal escape sequences: colors, cursor movements, titles."""
_ESCAPED_CONTROL = re.compile(r"\\u(00[01][0-9a-f])", re.IGNORECASE)
"""A control character as JSON writes it."""
_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
"""Loggers of the HTTP client. They log the server's reason phrase at INFO and its headers at DEBUG."""


class Redaction:
    """Removes secrets and control characters from text. Also a filter of log records.

    Args:
        secrets: API keys and passwords of proxies. None and empty strings are ignored.
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._secrets = [
            spelled
            for secret in secrets
            if secret
            for spelled in (_Spelled(secret), *map(_Spelled, sorted(_encodings(secret))))
        ]
        self._thread = threading.get_ident()

    def clean(self, text: str) -> str:
        """Return the text on one line, with "***" for each secret in any encoding, also if only its start is there."""
        text = _ESCAPE_SEQUENCE.sub("", text)
        text = "".join(character if character.isprintable() else " " * character.isspace() for character in text)
        for secret in self._secrets:
            text = secret.hide(text)
        return " ".join(text.split())

    def quote(self, said: object) -> str:
        """Return the beginning of a server's text or parsed JSON, safe to show."""
        if not isinstance(said, str):
            try:
                said = json.dumps(said, ensure_ascii=False)
            except (ValueError, RecursionError):
                said = "JSON that is nested too deeply to be shown"
        clean = self.clean(_ESCAPED_CONTROL.sub(lambda code: chr(int(code[1], 16)), said[:_READ]))
        return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}..."

    def error(self, error: Exception) -> RerankError:
        """Return a copy of the error for one caller, without a traceback, cause or context.

        Their frames hold the API key and the server's text as local variables, which some error reports print. An error
        of another type is a bug of this package; the copy is then a `RemoteError` that names its type and location.
        """
        if isinstance(error, RerankError):
            told = fresh(error)
            told.args = tuple(self.clean(part) if isinstance(part, str) else part for part in error.args)
        else:
            frames = traceback.extract_tb(error.__traceback__)[-1:]
            where = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in frames)
            told = RemoteError(
                f"The server could not be asked: {type(error).__name__}{where}: {self.quote(str(error))}. Please "
                "report this."
            )
        told.__traceback__ = told.__cause__ = told.__context__ = None
        return told

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record that the HTTP client logs on this thread. See `logging.Filter`."""
        if record.thread == self._thread:
            record.msg, record.args = self.clean(record.getMessage()), None
            record.exc_info = record.exc_text = None
        return True

    def watch_logs(self) -> None:
        """Start cleaning the HTTP client's log records."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def leave_logs(self) -> None:
        """Stop cleaning log records, because the client is closed."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)


class _Spelled:
    """One secret, with each character plain, percent-encoded, or escaped for JSON or HTML."""

    def __init__(self, secret: str) -> None:
        start = r"\s*".join(map(_spellings, secret[:_GIVEAWAY]))
        self._start = re.compile(rf"(?<!\w){start}(?!\w)" if len(secret) < _SHORT else start, re.IGNORECASE)
        self._rest = secret[_GIVEAWAY:]

    def hide(self, text: str) -> str:
        """Return the text with "***" for the secret."""
        return "".join(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        at = 0
        while found := self._start.search(text, at):
            end = found.end()
            for character in self._rest:
                more = re.compile(rf"\s*{_spellings(character)}", re.IGNORECASE).match(text, end)
                if not more:
                    break
                end = more.end()
            yield f"{text[at : found.start()]}***"
            at = end
        yield text[at:]


@functools.cache
def _spellings(character: str) -> str:
    """Return a pattern for one character of a secret. Encodings come first, because some begin with the character."""
    code = f"{ord(character):02x}"
    return (
        rf"(?:{_named(character)}&#0*{ord(character)};|&#x0*{code};|%(?:25)*{code}"
        rf"|\\+u00{code}|\\+u\{{0*{code}\}}|\\+x{code}|\\*{re.escape(character)})"
    )


def _named(character: str) -> str:
    names = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
    return f"&{names[character]};|" if character in names else ""


def _encodings(secret: str) -> set[str]:
    """Return a secret in hexadecimal, and in Base64 at any offset of the encoded data."""
    if len(secret) < _SHORT:
        return set()
    found = {secret.encode().hex()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        # without the characters that also depend on the data before and after the secret
        certain = encoded[(before * 8 + 5) // 6 : (before + len(secret.encode())) * 8 // 6].decode()
        found |= {certain, certain.translate(str.maketrans("+/", "-_"))}
    return found
