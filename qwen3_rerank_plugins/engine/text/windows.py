"""Split a text that is too long into overlapping windows.

A window ends at a break of the text, if its last quarter has one: at the end of a paragraph, else of a sentence, else
of a word. Each window is tokenized like a document, so its score is that of `text[start:end]` alone.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence

from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import NoRoomError

Span = tuple[int, int]

SMALLEST_WINDOW = 16
"""Tokens. One character takes at most 13: 4 bytes, three times as many after normalization, and the space in front."""
LONGEST_OVERLAP = 128
"""Tokens: a few sentences. A sentence that the end of one window cuts is complete in the next."""

_BREAKS = tuple(map(re.compile, (r"\n\s*\n", r"(?<=[.!?…])\s+|(?<=[。！？])\s*", r"\s+")))


def split_into_windows(text: str, max_tokens: int, encoder: PromptEncoder) -> list[Span]:
    """Return spans of at most `max_tokens` tokens that together hold every character except white space.

    Neighbors overlap by up to `LONGEST_OVERLAP` tokens, and by at most a quarter of `max_tokens`.

    Raises:
        NoRoomError: `max_tokens` is less than `SMALLEST_WINDOW`.
    """
    if max_tokens < SMALLEST_WINDOW:
        raise NoRoomError(
            f"Template, instruction and query leave {max_tokens} tokens for a window of a long document, but a window "
            f"takes at least {SMALLEST_WINDOW}. Shorten the query or the instruction, or raise max_length by "
            f"{SMALLEST_WINDOW - max_tokens}."
        )
    return [span for span in _spans(text, max_tokens, encoder) if text[slice(*span)].strip()]


def _spans(text: str, max_tokens: int, encoder: PromptEncoder) -> Iterator[Span]:
    starts = encoder.token_starts(text)
    start = 0
    while True:
        first = bisect.bisect_right(starts, start) - 1
        end = _fitting_end(text, start, _character(starts, first + max_tokens, text), max_tokens, encoder)
        yield start, end
        if end >= len(text):
            return
        overlap = min(max_tokens // 4, LONGEST_OVERLAP)
        earliest = _character(starts, bisect.bisect_left(starts, end) - overlap, text)
        start = _next_start(text, max(earliest, start + 1), end)


def _fitting_end(text: str, start: int, end: int, max_tokens: int, encoder: PromptEncoder) -> int:
    """Return the last break before `end` that fits; a window may take more tokens alone than inside the whole text."""
    while True:
        end = end if end >= len(text) else _last_break(text, start + (end - start) * 3 // 4, end)
        taken = len(encoder.token_starts(text[start:end]))
        if taken <= max_tokens or end <= start + 1:
            return end
        end = max(start + 1, start + (end - start) * max_tokens // (taken + 1))


def _last_break(text: str, low: int, high: int) -> int:
    """Return the last end of a paragraph in text[low:high], else of a sentence, else of a word, else `high`."""
    for pattern in _BREAKS:
        found = [match.start() for match in pattern.finditer(text, low, high) if match.start() > low]
        if found:
            return found[-1]
    return high


def _next_start(text: str, low: int, high: int) -> int:
    """Return the first start of a sentence in text[low:high], else of a word, else `low`."""
    for pattern in _BREAKS[1:]:
        match = pattern.search(text, low, high)
        if match and match.end() < high:
            return match.end()
    return min(low, high)


def _character(starts: Sequence[int], token: int, text: str) -> int:
    return starts[max(0, token)] if token < len(starts) else len(text)
