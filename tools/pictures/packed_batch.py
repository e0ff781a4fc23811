"""Picture of one question and six passages, padded and packed, with every token to scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pictures.svg import WIDTH, box, picture, words
from qwen3_rerank_plugins.cli.commands.demo import order_by_keywords
from qwen3_rerank_plugins.data.bundled import read_corpus
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.text.encoding import encode_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder

QUESTION = "How do bees tell each other where to find food?"
SENTENCES = (3, 1, 2, 1, 4, 1)
"""Sentences of each passage: retrieved passages are short and long."""

_ROW, _STEP = 16, 21
_KINDS = {
    "template": "instruction and question",
    "text": "document",
    "ask": "“yes or no?”",
    "padding": "padding",
}


@dataclass(frozen=True)
class Lengths:
    """Tokens of one request.

    Attributes:
        prefix: tokens of the template before the document, with instruction and question.
        documents: tokens of each document.
        suffix: tokens of the template after each document.
    """

    prefix: int
    documents: tuple[int, ...]
    suffix: int

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return self.prefix + max(self.documents) + self.suffix

    @property
    def padded(self) -> int:
        """Tokens if every prompt is padded to the longest."""
        return self.longest * len(self.documents)

    @property
    def packed(self) -> int:
        """Tokens if the prefix is shared and nothing is padded."""
        return self.prefix + sum(self.documents) + self.suffix * len(self.documents)


def measure() -> Lengths:
    """Tokenize the request as the engine does."""
    encoder = PromptEncoder(DEMO_FOLDER / "tokenizer.json")
    passages = [found.text for found in order_by_keywords(QUESTION, read_corpus()).candidates]
    texts = [first(count, passage) for count, passage in zip(SENTENCES, passages, strict=False)]
    tokens = encode_request(make_request(QUESTION, texts, None), encoder).tokens
    ends = [ids.index(encoder.control_ids["<|im_end|>"]) for ids in tokens.document_ids]
    return Lengths(len(tokens.prefix), tuple(ends), len(tokens.document_ids[0]) - ends[0])


def first(sentences: int, text: str) -> str:
    """Return the first sentences of a text."""
    return " ".join(re.split(r"(?<=[.?!]) ", text)[:sentences])


def draw() -> str:
    """Return the SVG."""
    lengths = measure()
    title = (
        f"One question, {len(lengths.documents)} documents: padded to {lengths.padded:,} tokens, "
        f"packed into {lengths.packed:,}."
    )
    return picture(title, 290, _shapes(lengths))


def _shapes(lengths: Lengths) -> Iterator[str]:
    scale = WIDTH / lengths.packed
    yield words("Usual: every pair whole, padded to the longest", 0, 16, "strong")
    top = 30
    for row, document in enumerate(lengths.documents):
        y = top + row * _STEP
        parts = {"template": lengths.prefix, "text": document, "ask": lengths.suffix}
        parts["padding"] = lengths.longest - sum(parts.values())
        yield from _strip(parts.items(), y, scale)
    right = lengths.longest * scale + 24
    yield words(f"{lengths.padded:,} tokens", right, top + 24, "big")
    for row, (kind, name) in enumerate(_KINDS.items()):
        y = top + 42 + row * 22
        yield box(kind, right, y, 14, 14)
        yield words(name, right + 21, y + 12, "quiet")

    y = top + len(lengths.documents) * _STEP + 36
    yield words("Here: the question once, then only what differs", 0, y, "strong")
    parts_packed = [part for document in lengths.documents for part in (("text", document), ("ask", lengths.suffix))]
    yield from _strip([("template", lengths.prefix), *parts_packed], y + 13, scale, _ROW + 8)
    yield words(f"{lengths.packed:,} tokens", 0, y + 70, "big")
    ratio = lengths.padded / lengths.packed
    yield words(f"{ratio:.1f} times fewer, and the same scores", 188, y + 69, "quiet")


def _strip(parts: Iterable[tuple[str, int]], y: float, scale: float, height: float = _ROW) -> Iterator[str]:
    x = 0.0
    for kind, tokens in parts:
        if tokens:
            yield box(kind, x, y, tokens * scale, height)
        x += tokens * scale
