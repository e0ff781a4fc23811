"""What is asked, checked once: one query, its documents, an instruction.

Comes in: whatever a caller passed. Goes out: `RerankRequest`, which every later station trusts.
Must not know: tokens, models, or what happens to the scores.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from qwen3_rerank_plugins._plain_values import text
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, LongDocuments, OnNonfinite
from qwen3_rerank_plugins.errors import InputTypeError, RequestError

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
Instruction = str | Callable[[str], str | None]
"""A sentence, or a function that has one for each query; None, of either, is the default."""
AnyText = str | Mapping[str, Any]
"""A document as callers pass it: a text, or a mapping that holds the text under one of `TEXT_KEYS`."""
TEXT_KEYS = ("page_content", "text")


@dataclasses.dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query against its documents.

    Attributes:
        query: may be empty; it is still a query.
        documents: texts in the caller's order.
        instruction: what "relevant" means for this task, in English.
        max_length: tokens of one whole prompt; only the document is ever cut to fit.
        long_documents: what becomes of a document that does not fit: its end is cut, it is an error, or it is read in
            overlapping windows, of which the best stands for it.
        on_nonfinite: what becomes of a score that overflowed: an error, or another try in float32.
        may_shorten: whether `max_length` is nobody's choice but the default, which a model with fewer positions lowers
            to its own limit.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str = DEFAULT_INSTRUCTION
    max_length: int = DEFAULT_MAX_LENGTH
    long_documents: LongDocuments = "truncate"
    on_nonfinite: OnNonfinite = "error"
    may_shorten: bool = False

    @property
    def readable(self) -> tuple[int, ...]:
        """Positions of the documents that hold anything besides white space; only these reach the model."""
        return tuple(index for index, document in enumerate(self.documents) if document.strip())


def make_request(
    query: object,
    documents: object,
    instruction: object,
    max_length: int | None = None,
    long_documents: LongDocuments = "truncate",
    on_nonfinite: OnNonfinite = "error",
) -> RerankRequest:
    """Check a caller's words and freeze them.

    Args:
        query: a string.
        documents: strings, or mappings with a string under "page_content" or "text".
        instruction: a string, a function of the query, or None for the default.
        max_length: None is `DEFAULT_MAX_LENGTH`, or the model's own limit if that is lower.
        long_documents: what becomes of a document that does not fit.
        on_nonfinite: what becomes of a score that overflowed.

    Raises:
        InputTypeError: the query, the instruction or a document holds no `str`; the message names which.
        RequestError: `documents` is one document instead of a list of them.
        Exception: whatever an instruction that is a function raises.
    """
    if not isinstance(query, str):
        raise InputTypeError(f"query must be a string, got {_kind(query)}.")
    asked = cast("str", text(query))
    check_instruction(instruction)
    instruction = _instruction_for(asked, cast("Instruction | None", instruction))
    if isinstance(documents, (str, bytes)):
        raise RequestError("documents must be a list of strings, got one string; wrap it in a list: [document].")
    if isinstance(documents, Mapping):
        raise InputTypeError(
            f"documents must be a list, got one {_kind(documents)}. Wrap a single document in a list: [document]; of a "
            "mapping from names to texts pass list(documents.values())."
        )
    try:
        listed = list(cast("Iterable[object]", documents))
    except TypeError:
        raise InputTypeError(f"documents must be an iterable of strings, got {_kind(documents)}.") from None
    texts = tuple(text_of(f"documents[{index}]", document) for index, document in enumerate(listed))
    length = DEFAULT_MAX_LENGTH if max_length is None else max_length
    return RerankRequest(
        asked, texts, instruction, length, long_documents, on_nonfinite, may_shorten=max_length is None
    )


def text_of(place: str, document: object) -> str:
    """The text of one document.

    Args:
        place: what an error calls it, such as "documents[3]".
        document: a string, or a mapping with a string under "page_content" or "text".

    Raises:
        InputTypeError: it is neither.
    """
    found = document
    if isinstance(document, Mapping):
        name = next((name for name in TEXT_KEYS if name in document), None)
        if name is None:
            raise InputTypeError(
                f'{place} has neither "page_content" nor "text", only {list(document)!r:.80}. '
                "Put its text under one of the two."
            )
        found = document[name]
    if not isinstance(found, str):
        raise InputTypeError(f"{place} must be a string, got {_kind(found)}.{_hint(found)}")
    return cast("str", text(found))


def _hint(document: object) -> str:
    if isinstance(document, bytes):
        return " Decode it first."
    for name in TEXT_KEYS:
        if isinstance(getattr(document, name, None), str):
            return f" Pass its text, document.{name}, or use the adapter for the framework that it is of."
    return " Pass the text of each document."


def check_instruction(instruction: object) -> None:
    """Refuse what is neither a sentence nor a function that can be asked for one; it is not asked here."""
    if inspect.iscoroutinefunction(instruction):
        raise InputTypeError("instruction must be an ordinary function, got an async one, which nobody would await.")
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
