"""Check a rerank request: one query, its documents and an instruction."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from qwen3_rerank_plugins._plain_values import text
from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, LongDocuments, OnNonfinite
from qwen3_rerank_plugins.errors import InputTypeError, RequestError

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
Instruction = str | Callable[[str], str | None]
"""A sentence, or a function that returns one for a query; None instead of either is the default."""
AnyText = str | Mapping[str, Any]
"""A document as callers pass it: a string, or a mapping with a string under one of `TEXT_KEYS`."""
TEXT_KEYS = ("page_content", "text")


@dataclasses.dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and the documents to score against it.

    Attributes:
        query: the query; may be empty.
        documents: texts in the caller's order.
        instruction: what "relevant" means for this task, in English.
        max_length: tokens of one whole prompt. Only the document is ever truncated.
        long_documents: how a document that does not fit is treated: "truncate" cuts its end, "error" refuses it, and
            "windows" scores overlapping windows and returns the best one.
        on_nonfinite: how a score that overflowed is treated: "error" refuses it, "float32" computes it again.
        may_shorten: whether `max_length` is the default, which a model with fewer positions lowers to its limit.
        call: the call that made the request, with its deadline; None for a request without limits.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str = DEFAULT_INSTRUCTION
    max_length: int = DEFAULT_MAX_LENGTH
    long_documents: LongDocuments = "truncate"
    on_nonfinite: OnNonfinite = "error"
    may_shorten: bool = False
    call: Call | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def readable(self) -> tuple[int, ...]:
        """Positions of the documents that are not blank. Only these reach the model."""
        return tuple(index for index, document in enumerate(self.documents) if document.strip())


def make_request(
    query: object,
    documents: object,
    instruction: object,
    max_length: int | None = None,
    long_documents: LongDocuments = "truncate",
    on_nonfinite: OnNonfinite = "error",
) -> RerankRequest:
    """Check a caller's arguments and return them as a request.

    Args:
        query: a string.
        documents: strings, or mappings with a string under "page_content" or "text".
        instruction: a string, a function of the query, or None for the default.
        max_length: None is `DEFAULT_MAX_LENGTH`, or the model's limit if that is lower.
        long_documents: how a document that does not fit is treated.
        on_nonfinite: how a score that overflowed is treated.

    Raises:
        InputTypeError: the query, the instruction or a document is not a string; the message names it.
        RequestError: `documents` is one string instead of a list.
        Exception: any exception that an instruction function raises.
    """
    if not isinstance(query, str):
        raise InputTypeError(f"query must be a string, got {_kind(query)}.")
    query = cast("str", text(query))
    check_instruction(instruction)
    instruction = _instruction_for(query, cast("Instruction | None", instruction))
    advice = (
        "Wrap a single document in a list: [document]. For a mapping from names to texts, pass "
        "list(documents.values())."
    )
    listed = check_list("documents", documents, advice)
    texts = tuple(text_of(f"documents[{index}]", document) for index, document in enumerate(listed))
    length = DEFAULT_MAX_LENGTH if max_length is None else max_length
    return RerankRequest(query, texts, instruction, length, long_documents, on_nonfinite, max_length is None)


def check_list(name: str, values: object, advice: str) -> list[object]:
    """Return the items of an iterable argument as a list.

    Args:
        name: the argument, in the plural.
        values: what the caller passed.
        advice: the end of the message if it is a mapping.

    Raises:
        InputTypeError: it is a mapping, or not iterable.
        RequestError: it is one string.
    """
    if isinstance(values, (str, bytes)):
        item = name.removesuffix("s")
        raise RequestError(f"{name} must be a list of strings, got one string; wrap it in a list: [{item}].")
    if isinstance(values, Mapping):
        raise InputTypeError(f"{name} must be a list, got one {_kind(values)}. {advice}")
    try:
        return list(cast("Iterable[object]", values))
    except TypeError:
        raise InputTypeError(f"{name} must be an iterable of strings, got {_kind(values)}.") from None


def text_of(location: str, document: object) -> str:
    """Return the text of one document.

    Args:
        location: the document in error messages, such as "documents[3]".
        document: a string, or a mapping with a string under "page_content" or "text".

    Raises:
        InputTypeError: it is neither.
    """
    if not isinstance(document, Mapping):
        return check_text(location, document)
    for key in TEXT_KEYS:
        if key in document:
            return check_text(location, document[key])
    raise InputTypeError(
        f'{location} has neither "page_content" nor "text", only {list(document)!r:.80}. '
        "Put its text under one of the two."
    )


def check_text(location: str, value: object) -> str:
    """Return a text as a plain `str`; a subclass may format differently.

    Args:
        location: the text in error messages, such as "texts[3]".
        value: what the caller passed.

    Raises:
        InputTypeError: it is not a string.
    """
    if isinstance(value, str):
        return cast("str", text(value))
    hint = "Decode it first." if isinstance(value, bytes) else "Pass the text itself."
    for key in TEXT_KEYS:
        if isinstance(getattr(value, key, None), str):
            hint = f"Pass its text, document.{key}, or use the adapter for its framework."
            break
    raise InputTypeError(f"{location} must be a string, got {_kind(value)}. {hint}")


def check_instruction(instruction: object) -> None:
    """Refuse an instruction that is not a string, a function or None. A function is not called here."""
    if inspect.iscoroutinefunction(instruction):
        raise InputTypeError("instruction must be an ordinary function, got an async one, which would not be awaited.")
    if instruction is not None and not isinstance(instruction, str) and not callable(instruction):
        raise InputTypeError(
            f"instruction must be a string, a function of the query or None, got {_kind(instruction)}."
        )


def _instruction_for(query: str, instruction: Instruction | None) -> str:
    found = instruction(query) if callable(instruction) else instruction
    if found is not None and not isinstance(found, str):
        raise InputTypeError(f"instruction({query!r:.80}) must return a string or None, got {_kind(found)}.")
    return DEFAULT_INSTRUCTION if found is None else cast("str", text(found))


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
