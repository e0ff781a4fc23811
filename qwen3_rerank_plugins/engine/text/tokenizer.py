"""Prompt -> ids: one shared prefix, one tail a document, and a receipt for everything that was cut.

Comes in: `Prompt`. Goes out: `TokenizedRequest`, plain ints.
Must not know: tensors, budgets, or the order in which tails will run.

Text is read by a tokenizer that does not know the control tokens: the 26 added tokens of the published tokenizer, of
which `<think>` and others are not special, and every token that the file marks as special. It knows the ordinary tokens
that a fine-tune added, and uses them as the tokenizers library does. No truncation or padding state is ever set on it,
so any number of threads may encode at once; ids are cut as slices.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import (
    CONTROL_TOKENS,
    DOCUMENT_LINE,
    NO,
    YES,
    Control,
    Prompt,
    PromptPart,
    Text,
    build_prompt,
    spell_out,
)
from qwen3_rerank_plugins.engine.text.tokenizer_file import REMEDY, library_errors, read_blueprint
from qwen3_rerank_plugins.errors import NoRoomError, UnsupportedCheckpointError

Ids = tuple[int, ...]
_CHARACTERS_AT_ONCE = 16_384
"""For each processor: hundredths of a second."""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedRequest:
    """One request in ids.

    Attributes:
        prefix: ids that all documents share: up to and including "<Document>:", or fewer where an added token may reach
            over that end.
        tails: for each different document, its ids followed by the suffix; never empty.
        tail_of: for each document, the position of its tail; identical documents share one.
        truncated_tokens: for each document, how many of its ids were cut from its end.
    """

    prefix: Ids
    document_ids: tuple[Ids, ...]
    inverse_index: tuple[int, ...]
    truncated_tokens: tuple[int, ...]


class PromptEncoder:
    """Turns prompts into ids with the tokenizer of one checkpoint. Safe to share between threads.

    Attributes:
        yes_id, no_id: the two answers, each one token.
        control_ids: the ids that no text may become, by name: `CONTROL_TOKENS`, and whatever the file marks as special.
        rows: how many rows of an embedding matrix its ids reach.

    Raises:
        UnsupportedCheckpointError: the file is not a fast tokenizer, its ids contradict each other, "yes" or "no" is
            not one token, text could still become a control token, or an added token changes the template.
    """

    def __init__(self, tokenizer_file: Path) -> None:
        self._file = tokenizer_file
        blueprint = read_blueprint(tokenizer_file)
        with library_errors(tokenizer_file):
            self._build(tokenizer_file, *_read(blueprint))

    def _build(self, tokenizer_file: Path, whole: Tokenizer, added: Sequence[_AddedToken]) -> None:
        words = whole.get_vocab(with_added_tokens=False)
        ordinary = [token for token in added if not token.is_control]
        self._text_tokenizer = _without_control_tokens(whole, ordinary)
        numbers = ((self._text_tokenizer.token_to_id(token.content), token.id) for token in ordinary)
        self._renumbered = {before: number for before, number in numbers if before is not None and before != number}
        _check_ids(tokenizer_file, words, added, self._renumbered)
        self.rows = max([*words.values(), *(token.id for token in added)], default=-1) + 1
        self.control_ids: dict[str, int] = {token.content: token.id for token in added if token.is_control}
        self.yes_id, self.no_id = (self._single_id(answer) for answer in (YES, NO))
        self._check_control_tokens(tokenizer_file)
        self._shares_fields = not any(_reaches_over_the_cut(token, whole) for token in ordinary)
        self._check_template(tokenizer_file, whole, {**words, **{token.content: token.id for token in added}})

    def encode(self, prompt: Prompt, max_length: int) -> TokenizedRequest:
        """Tokenise a prompt, cutting documents (and nothing else) to fit.

        Args:
            prompt: what to encode.
            max_length: most ids of prefix, one document and suffix together.

        Raises:
            NoRoomError: prefix and suffix alone leave no room for a document.
        """
        head, fields = self._cut_head(prompt)
        prefix, suffix = self._encode_parts(head), self._encode_parts(prompt.suffix)
        taken = len(prefix) + len(self._encode_text(fields)) + len(suffix)
        if taken >= max_length:
            raise NoRoomError(
                f"Template, instruction and query take {taken} tokens and max_length is {max_length}: no document "
                f"token would fit. Shorten the query or the instruction, or raise max_length to at least {taken + 1}."
            )
        room = max_length - len(prefix) - len(suffix)
        documents = self._encode_texts(fields + part.characters for part in prompt.documents)
        positions: dict[Ids, int] = {}
        inverse_index = tuple(positions.setdefault((*ids[:room], *suffix), len(positions)) for ids in documents)
        cut = tuple(max(0, len(ids) - room) for ids in documents)
        return TokenizedRequest(prefix, tuple(positions), inverse_index, cut)

    def max_document_tokens(self, prompt: Prompt, max_length: int) -> int:
        """Tokens that `encode` leaves for a document."""
        return max_length - len(self._encode_parts(prompt.head)) - len(self._encode_parts(prompt.suffix))

    def token_starts(self, document: str) -> list[int]:
        """For each token of a document as a prompt holds it, the character at which it starts.

        Surrogate pairs, which are joined, move what comes after them by one character each.
        """
        before = "" if self._shares_fields else DOCUMENT_LINE
        with library_errors(self._file):
            encoding = self._text_tokenizer.encode(well_formed(f"{before} {document}"), add_special_tokens=False)
        return [max(0, start - len(before) - 1) for start, end in encoding.offsets if end > len(before)]

    def _cut_head(self, prompt: Prompt) -> tuple[tuple[PromptPart, ...], str]:
        """What all documents share, and what stands before each of them in its tail.

        The cut is at the end of the head: with the Qwen pre-tokenizer a piece boundary always lies between the colon
        and the space, so tokenising the two sides apart gives the ids of tokenising them together. Where an added token
        may reach over it, the cut is at the last control token, which ends every piece.
        """
        head = _joined(prompt.head)
        if self._shares_fields or not isinstance(head[-1], Text):
            return head, ""
        return head[:-1], head[-1].characters

    def _encode_parts(self, parts: Iterable[PromptPart]) -> Ids:
        ids: list[int] = []
        for part in _joined(parts):
            if isinstance(part, Control):
                ids.append(self._control_id(part.name))
            else:
                ids.extend(self._encode_text(part.characters))
        return tuple(ids)

    def _encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        with library_errors(self._file):
            found = [
                encoding.ids
                for piece in _pieces(texts)
                for encoding in self._text_tokenizer.encode_batch_fast(piece, add_special_tokens=False)
            ]
        if not self._renumbered:
            return found
        return [[self._renumbered.get(number, number) for number in ids] for ids in found]

    def _encode_text(self, text: str) -> list[int]:
        return self._encode_texts([text])[0]

    def _check_control_tokens(self, file: Path) -> None:
        forbidden = set(self.control_ids.values())
        for name in self.control_ids:
            if forbidden.intersection(self._encode_text(name)):
                raise UnsupportedCheckpointError(f"In {file}, plain text can form the control token {name!r}. {REMEDY}")

    def _check_template(self, file: Path, whole: Tokenizer, ids: dict[str, int]) -> None:
        """A prompt that is tokenised as one string has the same ids, whatever the added tokens and their flags are."""
        prompt = build_prompt(RerankRequest("query", ("document", "document.\n "), "instruction"))
        names = {part.name for part in (*prompt.head, *prompt.suffix) if isinstance(part, Control)}
        if not names <= self.control_ids.keys():
            return  # the first prompt is refused with the name of the missing one
        tokens = self.encode(prompt, sys.maxsize)
        for document, tail in zip(prompt.documents, tokens.inverse_index, strict=True):
            text = spell_out((*prompt.head, document, *prompt.suffix))
            whole_prompt = whole.encode(text, add_special_tokens=False).ids
            parts = (*tokens.prefix, *tokens.document_ids[tail])
            for name, number in itertools.zip_longest(map(whole.id_to_token, whole_prompt), parts):
                if name is None or ids.get(name) != number:
                    raise UnsupportedCheckpointError(
                        f"{file} reads the template differently where its control tokens and the text around them are "
                        f"one string: it finds the token {name!r}. {REMEDY}"
                    )

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


@dataclasses.dataclass(frozen=True, slots=True)
class _AddedToken:
    """An added token, in the words of tokenizer.json."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    @property
    def is_control(self) -> bool:
        """Whether no text may become it."""
        return self.special or self.content in CONTROL_TOKENS

    @property
    def as_library(self) -> AddedToken:
        """The same for the tokenizers library, which gives it an id by itself."""
        words = dataclasses.asdict(self)
        del words["id"]
        return AddedToken(**words)


def _read(blueprint: dict[str, Any]) -> tuple[Tokenizer, list[_AddedToken]]:
    """The tokenizer with everything in its file, and its added tokens with the ids that the file states."""
    blueprint.update(truncation=None, padding=None, post_processor=None, decoder=None)
    whole = Tokenizer.from_str(json.dumps(blueprint))
    return whole, [_AddedToken(**token) for token in blueprint["added_tokens"] if token["content"]]


def _without_control_tokens(whole: Tokenizer, ordinary: Sequence[_AddedToken]) -> Tokenizer:
    """A tokenizer over the same model that knows the ordinary added tokens only, under ids of its own."""
    tokenizer = Tokenizer(whole.model)
    _remember_no_words(tokenizer)
    if whole.normalizer is not None:
        tokenizer.normalizer = whole.normalizer
    if whole.pre_tokenizer is not None:
        tokenizer.pre_tokenizer = whole.pre_tokenizer
    tokenizer.add_tokens([token.as_library for token in ordinary])
    return tokenizer


def _check_ids(file: Path, words: dict[str, int], added: Sequence[_AddedToken], renumbered: dict[int, int]) -> None:
    """Each token has one id, and no two tokens share one."""
    ids = dict(words)
    for token in added:
        if ids.setdefault(token.content, token.id) != token.id:
            raise UnsupportedCheckpointError(
                f"{file} gives the token {token.content!r} two ids, {ids[token.content]} and {token.id}. {REMEDY}"
            )
    owners: dict[int, str] = {}
    for name, number in ids.items():
        if owners.setdefault(number, name) != name:
            raise UnsupportedCheckpointError(
                f"In {file}, the tokens {owners[number]!r} and {name!r} share the id {number}. {REMEDY}"
            )
    if taken := renumbered.keys() & set(words.values()):
        raise UnsupportedCheckpointError(
            f"The ids of the vocabulary in {file} have gaps, and the tokenizers library puts added tokens where "
            f"{owners[min(taken)]!r} is. {REMEDY}"
        )


def _reaches_over_the_cut(token: _AddedToken, tokenizer: Tokenizer) -> bool:
    """Whether a token may match characters on both sides of the end of the head."""
    contents = {token.content}
    if token.normalized and tokenizer.normalizer is not None:
        contents.add(tokenizer.normalizer.normalize_str(token.content))
    for content in contents:
        ends = [end for end in range(1, len(content)) if content[end] == " "]
        if token.rstrip:  # takes the space behind it along
            ends.append(len(content))
        if any(_may_end_the_head(content[:end]) for end in ends):
            return True
    return False


def _may_end_the_head(characters: str) -> bool:
    return DOCUMENT_LINE.endswith(characters) or characters.endswith(DOCUMENT_LINE)


def _joined(parts: Iterable[PromptPart]) -> tuple[PromptPart, ...]:
    """The same parts, with neighboring texts in one: an added token may span both."""
    joined: list[PromptPart] = []
    for part in parts:
        if joined and isinstance(part, Text) and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].characters + part.characters)
        else:
            joined.append(part)
    return tuple(joined)


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
