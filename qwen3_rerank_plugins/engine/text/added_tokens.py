"""Added tokens of a tokenizer.json: which of them text may become, and the IDs that the file gives them.

Text must never become a control token. Control tokens are the 26 added tokens of the published tokenizer, of which
`<think>` and others are not special, and every token that the file marks as special. Text may become the ordinary
tokens that a fine-tune added; they are matched as the tokenizers library matches them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from qwen3_rerank_plugins.engine.text.template import CONTROL_TOKENS, DOCUMENT_LINE
from qwen3_rerank_plugins.engine.text.tokenizer_file import REMEDY
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError


class AddedTokens:
    """The tokenizer of a tokenizer.json, with and without its control tokens.

    Args:
        file: the tokenizer.json, for error messages.
        blueprint: its checked content. Truncation, padding, post-processor and decoder are removed from it.

    Attributes:
        full_tokenizer: knows every token of the file.
        text_tokenizer: uses the same model, but knows only the ordinary added tokens. The tokenizers library numbers
            these itself.
        renumbered: IDs of `text_tokenizer` that differ from the file's, mapped to the file's.
        ids: the ID of every token in the file.
        control_ids: the IDs that no text may become, by token.
        may_span_head: whether an ordinary token may match characters on both sides of the end of a prompt's head.

    Raises:
        UnsupportedCheckpointError: the IDs in the file contradict each other.
    """

    def __init__(self, file: Path, blueprint: dict[str, Any]) -> None:
        blueprint.update(truncation=None, padding=None, post_processor=None, decoder=None)
        self.full_tokenizer = Tokenizer.from_str(json.dumps(blueprint))
        added = [_AddedToken(**token) for token in blueprint["added_tokens"] if token["content"]]
        ordinary = [token for token in added if not token.is_control]
        self.text_tokenizer = _without_control_tokens(self.full_tokenizer, ordinary)
        numbers = ((self.text_tokenizer.token_to_id(token.content), token.id) for token in ordinary)
        self.renumbered = {library: stated for library, stated in numbers if library is not None and library != stated}
        self.ids = _check_ids(file, self.full_tokenizer.get_vocab(with_added_tokens=False), added, self.renumbered)
        self.control_ids = {token.content: token.id for token in added if token.is_control}
        self.may_span_head = any(_may_span_head(token, self.full_tokenizer) for token in ordinary)


@dataclasses.dataclass(frozen=True, slots=True)
class _AddedToken:
    """An added token, with the fields of tokenizer.json."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    @property
    def is_control(self) -> bool:
        return self.special or self.content in CONTROL_TOKENS


def _without_control_tokens(full: Tokenizer, ordinary: Sequence[_AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(full.model)
    # The model caches the IDs of 10,000 words for each thread that has ever encoded, until that thread ends: megabytes
    # per caller, even for tokenizers that are gone. Without the cache, tokenizing takes a quarter longer, and still far
    # less time than any batch. Models without `_resize_cache` have no cache.
    if resize_cache := getattr(tokenizer.model, "_resize_cache", None):
        resize_cache(0)
    if full.normalizer is not None:
        tokenizer.normalizer = full.normalizer
    if full.pre_tokenizer is not None:
        tokenizer.pre_tokenizer = full.pre_tokenizer
    fields = [dataclasses.asdict(token) for token in ordinary]
    tokenizer.add_tokens([AddedToken(**{key: value for key, value in one.items() if key != "id"}) for one in fields])
    return tokenizer


def _check_ids(
    file: Path, vocabulary: dict[str, int], added: Sequence[_AddedToken], renumbered: dict[int, int]
) -> dict[str, int]:
    """Return the ID of every token, after checking that each token has one ID and no two tokens share one."""
    ids = dict(vocabulary)
    for token in added:
        if ids.setdefault(token.content, token.id) != token.id:
            raise UnsupportedCheckpointError(
                f"{file} gives the token {token.content!r} two IDs, {ids[token.content]} and {token.id}. {REMEDY}"
            )
    tokens: dict[int, str] = {}
    for name, number in ids.items():
        if tokens.setdefault(number, name) != name:
            raise UnsupportedCheckpointError(
                f"In {file}, the tokens {tokens[number]!r} and {name!r} share the ID {number}. {REMEDY}"
            )
    if taken := renumbered.keys() & set(vocabulary.values()):
        raise UnsupportedCheckpointError(
            f"The IDs of the vocabulary in {file} have gaps, so the tokenizers library gives an added token the ID of "
            f"{tokens[min(taken)]!r}. {REMEDY}"
        )
    return ids


def _may_span_head(token: _AddedToken, tokenizer: Tokenizer) -> bool:
    contents = {token.content}
    if token.normalized and tokenizer.normalizer is not None:
        contents.add(tokenizer.normalizer.normalize_str(token.content))
    for content in contents:
        ends = [end for end in range(1, len(content)) if content[end] == " "]
        if token.rstrip:  # such a token also consumes the space after it
            ends.append(len(content))
        if any(DOCUMENT_LINE.endswith(content[:end]) or content[:end].endswith(DOCUMENT_LINE) for end in ends):
            return True
    return False
