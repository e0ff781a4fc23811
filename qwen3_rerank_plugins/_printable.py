"""Make external text safe for logs, error messages and terminals. This module also has the package's logger.

File names, hub IDs and server messages may contain line breaks that forge a log record, terminal escape sequences,
characters that reverse the reading direction, and surrogates that no stream can encode.
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
    r"""Return the text with each unprintable character escaped, such as `\n`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def one_line(error: object) -> str:
    """Return the message of another library on one line, without the period at its end."""
    return " ".join(str(error).split()).rstrip(".")


def shown(name: object) -> str:
    """Return a name in quotes for an error message, without the middle of a very long one."""
    text = str(name)
    if len(text) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        return f"{text[:half]!r}...{text[-half:]!r} ({len(text):,} characters)"
    return repr(text)


class _PrintableArguments(logging.Filter):
    """Escapes the strings and paths among a record's arguments. The message itself is this package's."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, Mapping):
            record.args = {key: _escaped(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_escaped, record.args))
        return True


def _escaped(value: Any) -> Any:
    return printable(str(value)) if isinstance(value, (str, PurePath)) else value


class _Undisturbed(logging.LoggerAdapter[logging.Logger]):
    """Drops errors of logging handlers, for example after their stream was closed. A failing log must not
    stop a model from loading.
    """

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        if not self.isEnabledFor(level):
            return
        logging.LogRecord("", level, "", 0, msg, args, None).getMessage()  # a wrong format string is still an error
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **options)

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


logger = _Undisturbed(logging.getLogger("qwen3_rerank_plugins"), {})
"""The one logger of this package."""
logger.logger.addFilter(_PrintableArguments())
