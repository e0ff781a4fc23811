"""A text that does not fit -> overlapping windows that do.

Comes in: a text, the room for it in tokens, a tokenizer. Goes out: spans of characters, in order.
Must not know: prompts, models, or which window will win.

A window ends where the text itself pauses, if it pauses in the last quarter: at a paragraph, else a sentence, else a
word. It is tokenised anew, as if it were a document of its own: its score is that of `text[start:end]`, alone.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from qwen3_rerank_plugins.errors import NoRoomError

Span = tuple[int, int]

SMALLEST_WINDOW = 16
"""Tokens. One character takes 13 at most: 4 bytes, thrice as many once normalised, and the space in front."""
LONGEST_OVERLAP = 128
"""Tokens: a few sentences. What straddles the end of one window is whole in the next."""

_PAUSES = tuple(map(re.compile, (r"\n\s*\n", r"(?<=[.!?…])\s+|(?<=[。！？])\s*", r"\s+")))


class Lengths(Protocol):
    """A tokenizer, as far as it matters here."""

    def token_starts(self, document: str) -> Sequence[int]:
        """For each token of a document, the character at which it starts, or about there."""
        ...


def split_into_windows(text: str, max_tokens: int, lengths: Lengths) -> list[Span]:
    """Spans that hold every character of a text except white space, each of at most `room` tokens.

    Neighbours overlap by up to a quarter of the room and `LONGEST_OVERLAP` tokens.

    Raises:
        NoRoomError: `room` is less than `SMALLEST_WINDOW`.
    """
    if max_tokens < SMALLEST_WINDOW:
        raise NoRoomError(
            f"Template, instruction and query leave {max_tokens} tokens for a window of a long document, and a window "
            f"takes at least {SMALLEST_WINDOW}. Shorten the query or the instruction, or raise max_length by "
            f"{SMALLEST_WINDOW - max_tokens}."
        )
    return [span for span in _spans(text, max_tokens, lengths) if text[slice(*span)].strip()]


def _spans(text: str, max_tokens: int, lengths: Lengths) -> Iterator[Span]:
    starts = lengths.token_starts(text)
    start = 0
    while True:
        first = bisect.bisect_right(starts, start) - 1
        end = _fitting_end(text, start, _character(starts, first + max_tokens, text), max_tokens, lengths)
        yield start, end
        if end >= len(text):
            return
        overlap = min(max_tokens // 4, LONGEST_OVERLAP)
        earliest = _character(starts, bisect.bisect_left(starts, end) - overlap, text)
        start = _start_of_next(text, max(earliest, start + 1), end)


def _fitting_end(text: str, start: int, end: int, max_tokens: int, lengths: Lengths) -> int:
    """The last pause before `end`, or one further back: a piece may take more tokens than it took in the whole."""
    while True:
        end = end if end >= len(text) else _last_pause(text, start + (end - start) * 3 // 4, end)
        taken = len(lengths.token_starts(text[start:end]))
        if taken <= max_tokens or end <= start + 1:
            return end
        end = max(start + 1, start + (end - start) * max_tokens // (taken + 1))


def _last_pause(text: str, low: int, high: int) -> int:
    """The end of a paragraph, sentence or word in text[low:high], whichever is there; else `high`."""
    for pause in _PAUSES:
        found = [match.start() for match in pause.finditer(text, low, high) if match.start() > low]
        if found:
            return found[-1]
    return high


def _start_of_next(text: str, low: int, high: int) -> int:
    """The first beginning of a sentence, else of a word, in text[low:high]; else `low`."""
    for pause in _PAUSES[1:]:
        match = pause.search(text, low, high)
        if match and match.end() < high:
            return match.end()
    return min(low, high)


def _character(starts: Sequence[int], token: int, text: str) -> int:
    return starts[max(0, token)] if token < len(starts) else len(text)
