"""The text of a document for the model: some of its metadata, then its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Any

from langchain_core.documents import Document

from qwen3_rerank_plugins._plain_values import plain, text
from qwen3_rerank_plugins.errors import InputTypeError


def check_metadata(index: int, document: Document) -> None:
    """Refuse metadata that is not a mapping, before the model runs. None counts as empty metadata.

    Raises:
        InputTypeError: the metadata is something else; the message names the document.
    """
    metadata: object = document.metadata
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InputTypeError(
            f"The metadata of documents[{index}] must be a dict, got {type(metadata).__name__}. "
            "Give the document a dict."
        )


def with_metadata(index: int, document: Document, keys: Iterable[str]) -> str:
    """Return the content of a document, after a line "key: value" for each of the keys that has a value.

    Strings, numbers, booleans, dates and objects whose class defines `__str__`, such as a UUID, are values. A list of
    values is joined with commas. None, NaN, `pandas.NA`, white space and empty lists are no values.

    Args:
        index: position of the document, for errors.
        document: the document; its metadata is a mapping or None.
        keys: in the order in which they are written.

    Raises:
        InputTypeError: a value is bytes, a mapping, or an object without a `__str__`; the message names the document
            and the key.
    """
    metadata = document.metadata or {}
    lines = []
    for key in keys:
        try:
            value = _text_of(metadata.get(key))
        except _NoTextError as error:
            raise InputTypeError(
                f"documents[{index}].metadata[{key!r}] must be text, a number, a date or a list of these, got {error}. "
                "Drop the key from metadata_keys, or pass a document_to_text that returns what the model should read."
            ) from None
        if value:
            lines.append(f"{key}: {value}")
    return "\n".join([*lines, "", document.page_content]) if lines else document.page_content


class _NoTextError(Exception):
    """A value of the named type cannot be written as text."""


def _text_of(value: Any) -> str:
    """Return a value as text, empty if it is missing."""
    if getattr(value, "ndim", 0):  # an array, a tensor, or a column of a data frame
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(filter(None, map(_text_of, value)))
    if not _defines_str(value):
        value = plain(value)
    if _is_missing(value):
        return ""
    if isinstance(value, str):
        return str(text(value)) if value.strip() else ""
    if isinstance(value, Number) or (_defines_str(value) and not isinstance(value, (bytes, bytearray, Mapping))):
        return str(value)
    raise _NoTextError(type(value).__name__)


def _defines_str(value: object) -> bool:
    return type(value).__str__ is not object.__str__


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or differs from itself as NaN of any library and `pandas.NaT` do."""
    if value is None or isinstance(value, str):
        return value is None
    try:
        return bool(value != value)  # noqa: PLR0124
    except TypeError:  # comparing pandas.NA gives pandas.NA, which has no truth value
        return True
