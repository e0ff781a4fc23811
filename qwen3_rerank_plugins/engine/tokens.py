"""Prompt -> ids: one shared prefix, one tail a document, and a receipt for everything that was cut.

Comes in: `Prompt`. Goes out: `TokenisedRequest`, plain ints.
Must not know: tensors, budgets, or the order in which tails will run.

The text tokenizer is rebuilt without its added tokens, because marking them as special is not enough: `<think>` and
the tool and fill-in-the-middle tokens are added but not special. No truncation or padding state is ever set on it, so
any number of threads may encode at once; ids are cut as slices.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.blueprint import REMEDY, library_errors, read_blueprint
from qwen3_rerank_plugins.engine.prompt import NO, YES, Control, Part, Prompt
from qwen3_rerank_plugins.errors import NoRoomError, UnsupportedCheckpointError

Ids = tuple[int, ...]
_CHARACTERS_AT_ONCE = 16_384
"""For each processor: hundredths of a second."""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenisedRequest:
    """One request in ids.

    Attributes:
        prefix: ids that all documents share, up to and including "<Document>:".
        tails: for each different document, its ids followed by the suffix; never empty.
        tail_of: for each document, the position of its tail; identical documents share one.
        truncated_tokens: for each document, how many of its ids were cut from its end.
    """

    prefix: Ids
    tails: tuple[Ids, ...]
    tail_of: tuple[int, ...]
    truncated_tokens: tuple[int, ...]


class PromptEncoder:
    """Turns prompts into ids with the tokenizer of one checkpoint. Safe to share between threads.

    Attributes:
        yes_id, no_id: the two answers, each one token.
        control_ids: every added token of the checkpoint, by name.
        rows: how many rows of an embedding matrix its ids reach.

    Raises:
        UnsupportedCheckpointError: the file is not a fast tokenizer, a control token of the template is missing, "yes"
            or "no" is not one token, or text could still spell an added token.
    """

    def __init__(self, tokenizer_file: Path) -> None:
        self._file = tokenizer_file
        blueprint = read_blueprint(tokenizer_file)
        with library_errors(tokenizer_file):
            self._build(blueprint)

    def _build(self, blueprint: dict[str, Any]) -> None:
        self.control_ids: dict[str, int] = {token["content"]: token["id"] for token in blueprint["added_tokens"]}
        blueprint.update(added_tokens=[], truncation=None, padding=None, post_processor=None, decoder=None)
        self._text_tokenizer = Tokenizer.from_str(json.dumps(blueprint))
        _remember_no_words(self._text_tokenizer)
        self.yes_id, self.no_id = (self._single_id(answer) for answer in (YES, NO))
        forbidden = set(self.control_ids.values())
        for name in self.control_ids:
            if forbidden.intersection(self._encode_text(name)):
                raise UnsupportedCheckpointError(
                    f"In {self._file}, plain text can form the control token {name!r}. {REMEDY}"
                )
        self.rows = max([self._text_tokenizer.get_vocab_size() - 1, *forbidden]) + 1

    def encode(self, prompt: Prompt, max_length: int) -> TokenisedRequest:
        """Tokenise a prompt, cutting documents (and nothing else) to fit.

        Args:
            prompt: what to encode.
            max_length: most ids of prefix, one document and suffix together.

        Raises:
            NoRoomError: prefix and suffix alone leave no room for a document.
        """
        prefix, suffix = self._encode_parts(prompt.head), self._encode_parts(prompt.suffix)
        room = max_length - len(prefix) - len(suffix)
        if room < 1:
            raise NoRoomError(
                f"Template, instruction and query take {len(prefix) + len(suffix)} tokens and max_length is "
                f"{max_length}: no document token would fit. Shorten the query or the instruction, or raise max_length "
                f"to at least {len(prefix) + len(suffix) + 1}."
            )
        documents = self._encode_texts(part.characters for part in prompt.documents)
        positions: dict[Ids, int] = {}
        tail_of = tuple(positions.setdefault((*ids[:room], *suffix), len(positions)) for ids in documents)
        cut = tuple(max(0, len(ids) - room) for ids in documents)
        return TokenisedRequest(prefix, tuple(positions), tail_of, cut)

    def room(self, prompt: Prompt, max_length: int) -> int:
        """Tokens that `encode` leaves for a document."""
        return max_length - len(self._encode_parts(prompt.head)) - len(self._encode_parts(prompt.suffix))

    def token_starts(self, document: str) -> list[int]:
        """For each token of a document as a prompt holds it, the character at which it starts.

        Surrogate pairs, which are joined, move what comes after them by one character each.
        """
        with library_errors(self._file):
            encoding = self._text_tokenizer.encode(well_formed(f" {document}"), add_special_tokens=False)
        return [max(0, start - 1) for start, _ in encoding.offsets]

    def _encode_parts(self, parts: Iterable[Part]) -> Ids:
        ids: list[int] = []
        for part in parts:
            if isinstance(part, Control):
                ids.append(self._control_id(part.name))
            else:
                ids.extend(self._encode_text(part.characters))
        return tuple(ids)

    def _encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        with library_errors(self._file):
            return [
                encoding.ids
                for piece in _pieces(texts)
                for encoding in self._text_tokenizer.encode_batch_fast(piece, add_special_tokens=False)
            ]

    def _encode_text(self, text: str) -> list[int]:
        return self._encode_texts([text])[0]

    def _control_id(self, name: str) -> int:
        try:
            return self.control_ids[name]
        except KeyError:
            raise UnsupportedCheckpointError(
                f"The tokenizer has no control token {name!r}, which the Qwen3-Reranker template needs. {REMEDY}"
            ) from None

    def _single_id(self, answer: str) -> int:
        ids = self._encode_text(answer)
        if len(ids) != 1:
            raise UnsupportedCheckpointError(
                f"The tokenizer splits {answer!r} into {len(ids)} tokens; the score needs it to be one. {REMEDY}"
            )
        return ids[0]


def well_formed(text: str) -> str:
    """Text that UTF-8 can hold: surrogate pairs are joined, lone surrogates become U+FFFD; all else is untouched."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    """Well-formed texts, some at a time. All threads of a process share the threads of the tokenizer's library, which
    finish what they have begun before they begin anything else: a small call would wait for the whole of a large one.
    """
    piece: list[str] = []
    room = most = _CHARACTERS_AT_ONCE * (os.cpu_count() or 1)
    for text in map(well_formed, texts):
        if piece and len(text) > room:
            yield piece
            piece, room = [], most
        piece.append(text)
        room -= len(text)
    if piece:
        yield piece


def _remember_no_words(tokenizer: Tokenizer) -> None:
    """Its model keeps the ids of the last 10,000 words, once for each thread that has ever encoded, until that thread
    ends: megabytes for every caller, also of tokenizers that are long gone. Without them it is a quarter slower, and
    still far faster than any pass.
    """
    resize = getattr(tokenizer.model, "_resize_cache", None)  # kinds of models without it remember nothing
    if resize is not None:
        resize(0)
