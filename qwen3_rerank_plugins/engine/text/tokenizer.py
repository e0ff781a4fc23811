"""Tokenize prompts: one prefix that all documents share, and the token IDs of each document.

Text is tokenized without knowledge of the control tokens, see `added_tokens`. The tokenizer never has truncation or
padding enabled, so any number of threads may encode at once; token IDs are cut by slicing.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.added_tokens import AddedTokens
from qwen3_rerank_plugins.engine.text.template import (
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
"""Characters per processor in one call of the tokenizers library; it takes hundredths of a second."""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedRequest:
    """One request as token IDs.

    Attributes:
        prefix: the IDs that all documents share: up to and including "<Document>:", or fewer where an added token may
            match beyond that.
        document_ids: for each different document, its IDs followed by those of the suffix; never empty.
        inverse_index: for each document, its position in `document_ids`; identical documents share one.
        truncated_tokens: for each document, how many IDs were cut from its end.
    """

    prefix: Ids
    document_ids: tuple[Ids, ...]
    inverse_index: tuple[int, ...]
    truncated_tokens: tuple[int, ...]

    @property
    def naive_tokens(self) -> int:
        """Tokens of all prompts, each with its own prefix."""
        return sum([len(self.prefix) + len(self.document_ids[position]) for position in self.inverse_index])


class PromptEncoder:
    """Turns prompts into token IDs with the tokenizer of one checkpoint. Threads may share it.

    Attributes:
        yes_id, no_id: the IDs of the two answers.
        control_ids: the IDs that no text may become, by name: `CONTROL_TOKENS` and every token that the file marks as
            special.
        rows: how many rows an embedding matrix needs for these IDs.

    Raises:
        UnsupportedCheckpointError: the file is not a fast tokenizer, its IDs contradict each other, "yes" or "no" is
            not one token, text could still become a control token, or an added token changes the template.
    """

    def __init__(self, tokenizer_file: Path) -> None:
        self._file = tokenizer_file
        blueprint = read_blueprint(tokenizer_file)
        with library_errors(tokenizer_file):
            added = AddedTokens(tokenizer_file, blueprint)
            self._text_tokenizer, self._renumbered = added.text_tokenizer, added.renumbered
            self.rows = max(added.ids.values(), default=-1) + 1
            self.control_ids = added.control_ids
            self.yes_id, self.no_id = (self._single_id(answer) for answer in (YES, NO))
            self._check_control_tokens()
            self._shares_fields = not added.may_span_head
            self._check_template(added.full_tokenizer, added.ids)

    def encode(self, prompt: Prompt, max_length: int, check: Callable[[], object] = lambda: None) -> TokenizedRequest:
        """Tokenize a prompt, and cut documents (and nothing else) to fit.

        Args:
            prompt: what to encode.
            max_length: most tokens of prefix, one document and suffix together.
            check: called before each portion of the documents. It raises an error to end the work.

        Raises:
            NoRoomError: prefix and suffix leave no tokens for a document.
        """
        head, fields = self._split_head(prompt)
        prefix, suffix = self._encode_parts(head), self._encode_parts(prompt.suffix)
        taken = len(prefix) + len(self._encode_text(fields)) + len(suffix)
        if taken >= max_length:
            raise NoRoomError(
                f"Template, instruction and query take {taken} tokens and max_length is {max_length}: no document "
                f"token would fit. Shorten the query or the instruction, or raise max_length to at least {taken + 1}."
            )
        limit = max_length - len(prefix) - len(suffix)
        documents = self._encode_texts((fields + part.characters for part in prompt.documents), check)
        positions: dict[Ids, int] = {}
        inverse_index = tuple(positions.setdefault((*ids[:limit], *suffix), len(positions)) for ids in documents)
        truncated = tuple(max(0, len(ids) - limit) for ids in documents)
        return TokenizedRequest(prefix, tuple(positions), inverse_index, truncated)

    def max_document_tokens(self, prompt: Prompt, max_length: int) -> int:
        """Return how many tokens `encode` leaves for a document."""
        return max_length - len(self._encode_parts(prompt.head)) - len(self._encode_parts(prompt.suffix))

    def token_starts(self, document: str) -> list[int]:
        """Return, for each token of a document in a prompt, the character at which it starts.

        `well_formed` joins surrogate pairs, and each pair moves the characters after it by one.
        """
        before = "" if self._shares_fields else DOCUMENT_LINE
        with library_errors(self._file):
            encoding = self._text_tokenizer.encode(well_formed(f"{before} {document}"), add_special_tokens=False)
        return [max(0, start - len(before) - 1) for start, end in encoding.offsets if end > len(before)]

    def _split_head(self, prompt: Prompt) -> tuple[tuple[PromptPart, ...], str]:
        """Return the parts that all documents share, and the text that is tokenized in front of each document.

        That text is empty as a rule: the Qwen pre-tokenizer always splits between the colon that ends the head and the
        space that follows, so tokenizing both sides apart gives the same IDs as tokenizing them together. Where an
        added token may match on both sides, the shared parts end at the last control token instead.
        """
        head = _merge_texts(prompt.head)
        if self._shares_fields or not isinstance(head[-1], Text):
            return head, ""
        return head[:-1], head[-1].characters

    def _encode_parts(self, parts: Iterable[PromptPart]) -> Ids:
        ids: list[int] = []
        for part in _merge_texts(parts):
            if isinstance(part, Text):
                ids.extend(self._encode_text(part.characters))
            elif part.name in self.control_ids:
                ids.append(self.control_ids[part.name])
            else:
                raise UnsupportedCheckpointError(
                    f"The tokenizer has no control token {part.name!r}, which the Qwen3-Reranker template needs. "
                    f"{REMEDY}"
                )
        return tuple(ids)

    def _encode_texts(self, texts: Iterable[str], check: Callable[[], object] = lambda: None) -> list[list[int]]:
        found: list[list[int]] = []
        for some in _split_texts(texts):
            check()
            with library_errors(self._file):
                encodings = self._text_tokenizer.encode_batch_fast(some, add_special_tokens=False)
            found += [encoding.ids for encoding in encodings]
        if not self._renumbered:
            return found
        return [[self._renumbered.get(number, number) for number in ids] for ids in found]

    def _encode_text(self, text: str) -> list[int]:
        return self._encode_texts([text])[0]

    def _single_id(self, answer: str) -> int:
        ids = self._encode_text(answer)
        if len(ids) != 1:
            raise UnsupportedCheckpointError(
                f"The tokenizer splits {answer!r} into {len(ids)} tokens, but the score needs one token. {REMEDY}"
            )
        return ids[0]

    def _check_control_tokens(self) -> None:
        forbidden = set(self.control_ids.values())
        for name in self.control_ids:
            if forbidden.intersection(self._encode_text(name)):
                raise UnsupportedCheckpointError(
                    f"In {self._file}, plain text can form the control token {name!r}. {REMEDY}"
                )

    def _check_template(self, full_tokenizer: Tokenizer, ids: dict[str, int]) -> None:
        """Check that a prompt tokenized as one string has the same IDs, whatever the added tokens and their flags."""
        prompt = build_prompt(RerankRequest("query", ("document", "document.\n "), "instruction"))
        names = {part.name for part in (*prompt.head, *prompt.suffix) if isinstance(part, Control)}
        if not names <= self.control_ids.keys():
            return  # the first request fails with the name of the missing token
        tokens = self.encode(prompt, sys.maxsize)
        for document, position in zip(prompt.documents, tokens.inverse_index, strict=True):
            text = spell_out((*prompt.head, document, *prompt.suffix))
            expected = full_tokenizer.encode(text, add_special_tokens=False).ids
            found = (*tokens.prefix, *tokens.document_ids[position])
            for name, number in itertools.zip_longest(map(full_tokenizer.id_to_token, expected), found):
                if name is None or ids.get(name) != number:
                    raise UnsupportedCheckpointError(
                        f"{self._file} reads the template differently when the prompt is one string: it finds the "
                        f"token {name!r}, so an added token changes the template. {REMEDY}"
                    )


def _merge_texts(parts: Iterable[PromptPart]) -> tuple[PromptPart, ...]:
    """Merge neighboring texts, because an added token may span two of them."""
    merged: list[PromptPart] = []
    for part in parts:
        if merged and isinstance(part, Text) and isinstance(merged[-1], Text):
            merged[-1] = Text(merged[-1].characters + part.characters)
        else:
            merged.append(part)
    return tuple(merged)


def well_formed(text: str) -> str:
    """Return text that UTF-8 can encode: surrogate pairs are joined, and lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _split_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield well-formed texts, a limited number of characters at a time.

    All threads of the process share the threads of the tokenizers library, which finish one call before they begin the
    next, so a small request would wait until all of a large one is tokenized.
    """
    some: list[str] = []
    left = limit = _CHARACTERS_AT_ONCE * (os.cpu_count() or 1)
    for text in map(well_formed, texts):
        if some and len(text) > left:
            yield some
            some, left = [], limit
        some.append(text)
        left -= len(text)
    if some:
        yield some
