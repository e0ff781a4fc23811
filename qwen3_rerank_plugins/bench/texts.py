"""Real text of a given length in tokens, drawn with a seed from reranking sets or from the bundled passages."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from qwen3_rerank_plugins.data.bundled import CORPUS
from qwen3_rerank_plugins.data.readers import open_records, require_objects
from qwen3_rerank_plugins.data.tasks import parse_task

_TRIES = 100
"""Draws before a repeated text is accepted: there may be no other text of so few tokens."""
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


class RealText:
    """An endless supply of distinct texts of any length. Equal seeds give equal texts.

    Args:
        passages: source of the sentences.
        tokenizer: tokenizer that counts the tokens.
        seed: random seed.
    """

    def __init__(self, passages: Iterable[str], tokenizer: Tokenizer, seed: int) -> None:
        sentences = dict.fromkeys(s for passage in passages for s in _SENTENCE_END.split(passage.strip()) if s)
        self._sentences = list(sentences)
        self._lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(self._sentences)]
        self._tokenizer = tokenizer
        self._random = random.Random(seed)
        self._drawn: set[str] = set()

    def draw(self, tokens: int) -> str:
        """Return a new text of about `tokens` tokens: whole sentences in random order, the last one cut."""
        text = self._draw(tokens)
        for _ in range(_TRIES):
            if text not in self._drawn:
                break
            text = self._draw(tokens)
        self._drawn.add(text)
        return text

    def _draw(self, tokens: int) -> str:
        drawn: list[str] = []
        left = tokens
        while left > 0:
            position = self._random.randrange(len(self._sentences))
            drawn.append(self._sentences[position])
            left -= self._lengths[position]
        text = " ".join(drawn)
        offsets = self._tokenizer.encode(text).offsets
        return text[: offsets[tokens - 1][1]] if len(offsets) > tokens else text

    def lengths_between(self, shortest: int, longest: int, count: int) -> list[int]:
        """Return token lengths that are uniform over a range."""
        return [self._random.randint(shortest, longest) for _ in range(count)]

    def log_normal_lengths(self, median: float, spread: float, bounds: tuple[int, int], count: int) -> list[int]:
        """Return token lengths with the long tail of real collections, clamped to bounds."""
        shortest, longest = bounds
        draws = (round(median * self._random.lognormvariate(0, spread)) for _ in range(count))
        return [min(max(draw, shortest), longest) for draw in draws]


def read_passages(sets: Sequence[Path]) -> list[str]:
    """Return the candidate texts of reranking sets, or the bundled passages if there are no sets."""
    if not sets:
        return [json.loads(line)["text"] for line in CORPUS.read_text(encoding="utf-8").strip().split("\n")]
    found: list[str] = []
    for file in map(str, sets):
        with open_records(file) as records:
            tasks = map(parse_task, require_objects(records, file, "a reranking set"))
            found += [candidate.text for task in tasks for candidate in task.candidates]
    return found
