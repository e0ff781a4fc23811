"""What a server says -> what may be shown: no key, no password, no control character, not too much of it.

Every message about a server passes `Redaction` before anybody sees it: the words of an error, the whole error on its
way to the caller, and the lines that the HTTP client logs.
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
"""Characters of a server's own words that a message quotes."""
_READ = 20_000
"""Characters of a server's own words that are looked at for it."""
_SHORT = 8
"""Characters of a secret below which it may be part of ordinary words; it is then looked for as a word of its own."""
_GIVEAWAY = 12
"""Characters from the start of a secret that are hidden even where the rest is missing."""
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?")
"""What a terminal obeys: colors, cursor movements, titles."""
_ESCAPED_CONTROL = re.compile(r"\\u(00[01][0-9a-f])", re.IGNORECASE)
"""A control character as JSON writes it."""
_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
"""Of the HTTP client: at INFO they write the server's reason phrase, at DEBUG its headers."""


class Redaction:
    """Takes secrets and control characters out of text. Also a filter of log records.

    Args:
        secrets: the key, passwords of proxies; None and empty ones are left out.
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
        """All of a text on one line, with "***" where a secret was, in whatever spelling, whole or from its start."""
        text = _ESCAPE_SEQUENCE.sub("", text)
        text = "".join(character if character.isprintable() else " " * character.isspace() for character in text)
        for secret in self._secrets:
            text = secret.hide(text)
        return " ".join(text.split())

    def quote(self, said: object) -> str:
        """The beginning of what a server said, text or parsed JSON, safe to show."""
        if not isinstance(said, str):
            try:
                said = json.dumps(said, ensure_ascii=False)
            except (ValueError, RecursionError):
                said = "JSON that is nested too deeply to be shown"
        clean = self.clean(_ESCAPED_CONTROL.sub(lambda code: chr(int(code[1], 16)), said[:_READ]))
        return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}..."

    def error(self, error: Exception) -> RerankError:
        """The error as one caller gets it: of our tree, shared with no other caller, with nothing behind it.

        The frames behind an error hold the key and the server's words as local variables, which some reporters of
        errors print. An error of another kind is a mistake of this package; its type and its place are told in words.
        """
        if isinstance(error, RerankError):
            told = fresh(error)
            told.args = tuple(self.clean(part) if isinstance(part, str) else part for part in error.args)
        else:
            place = traceback.extract_tb(error.__traceback__)[-1:]
            where = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in place)
            told = RemoteError(
                f"The server could not be asked: {type(error).__name__}{where}: {self.quote(str(error))}. Please "
                "report this."
            )
        told.__traceback__ = told.__cause__ = told.__context__ = None
        return told

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a line that the HTTP client logs on this thread. See `logging.Filter`."""
        if record.thread == self._thread:
            record.msg, record.args = self.clean(record.getMessage()), None
            record.exc_info = record.exc_text = None
        return True

    def watch_logs(self) -> None:
        """Clean what the HTTP client logs from now on."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def leave_logs(self) -> None:
        """The client is closed."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)


class _Spelled:
    """One secret, however its characters are written: as they are, percent-encoded, escaped for JSON or HTML."""

    def __init__(self, secret: str) -> None:
        start = r"\s*".join(map(_spellings, secret[:_GIVEAWAY]))
        self._start = re.compile(rf"(?<!\w){start}(?!\w)" if len(secret) < _SHORT else start, re.IGNORECASE)
        self._rest = secret[_GIVEAWAY:]

    def hide(self, text: str) -> str:
        """The text with "***" in its place."""
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
    """A pattern for one character of a secret: its encodings first, as some begin with the character itself."""
    code = f"{ord(character):02x}"
    return (
        rf"(?:{_named(character)}&#0*{ord(character)};|&#x0*{code};|%(?:25)*{code}"
        rf"|\\+u00{code}|\\+u\{{0*{code}\}}|\\+x{code}|\\*{re.escape(character)})"
    )


def _named(character: str) -> str:
    names = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
    return f"&{names[character]};|" if character in names else ""


def _encodings(secret: str) -> set[str]:
    """What a secret looks like in Base64, wherever it stands in what was encoded, and in hexadecimal."""
    if len(secret) < _SHORT:
        return set()
    found = {secret.encode().hex()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        # without the characters that also depend on what stands before and behind
        certain = encoded[(before * 8 + 5) // 6 : (before + len(secret.encode())) * 8 // 6].decode()
        found |= {certain, certain.translate(str.maketrans("+/", "-_"))}
    return found
