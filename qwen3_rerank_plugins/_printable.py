"""Text from outside, made safe for a log, an error message and a terminal.

File names, hub ids and messages of servers may hold line breaks that forge a second log line, escape sequences that a
terminal obeys, characters that reverse the reading direction, and surrogates that no stream can encode.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, MutableMapping
from pathlib import PurePath
from typing import Any

LONGEST_NAME = 200
"""Characters of a name that an error message shows."""


def printable(text: str) -> str:
    r"""The text with each character that is not printable as its escape, such as `\n`; any other text is unchanged."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def one_line(error: object) -> str:
    """The message of another library in one line, without the period at its end."""
    return " ".join(str(error).split()).rstrip(".")


def shown(name: object) -> str:
    """A name in quotes for an error message; the middle of a very long one is left out."""
    text = str(name)
    if len(text) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        return f"{text[:half]!r}...{text[-half:]!r} ({len(text):,} characters)"
    return repr(text)


class _PrintableArguments(logging.Filter):
    """Escapes the strings and paths that a record is made of; its message is our own."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, Mapping):
            record.args = {key: _escaped(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_escaped, record.args))
        return True


def _escaped(value: Any) -> Any:
    return printable(str(value)) if isinstance(value, (str, PurePath)) else value


class _Undisturbed(logging.LoggerAdapter[logging.Logger]):
    """Drops what handlers raise: one whose stream is closed raises out of the logging module, and a log that cannot be
    written shall stop no model from loading.
    """

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        if not self.isEnabledFor(level):
            return
        logging.LogRecord("", level, "", 0, msg, args, None).getMessage()  # a mistake of ours is still an error
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **options)

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


logger = _Undisturbed(logging.getLogger("qwen3_rerank_plugins"), {})
"""The one logger of this package."""
logger.logger.addFilter(_PrintableArguments())
