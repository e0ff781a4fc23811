"""Real text, drawn by seed and cut to a length in tokens.

Comes in: reranking sets, or nothing for the passages bundled with the package. Goes out: strings.
Must not know: what they are for.
"""

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
"""Of so few tokens there may be no other text."""
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


class RealText:
    """An endless supply of distinct texts of any length, the same ones for the same seed.

    Args:
        passages: where the sentences come from.
        tokenizer: counts the tokens.
        seed: which texts come out.
    """

    def __init__(self, passages: Iterable[str], tokenizer: Tokenizer, seed: int) -> None:
        sentences = dict.fromkeys(s for passage in passages for s in _SENTENCE_END.split(passage.strip()) if s)
        self._sentences = list(sentences)
        self._lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(self._sentences)]
        self._tokenizer = tokenizer
        self._random = random.Random(seed)
        self._drawn: set[str] = set()

    def draw(self, tokens: int) -> str:
        """Whole sentences in a new order, the last one cut so that about `tokens` tokens remain; never a text twice."""
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
        """Token lengths, even over a range."""
        return [self._random.randint(shortest, longest) for _ in range(count)]

    def log_normal_lengths(self, median: float, spread: float, bounds: tuple[int, int], count: int) -> list[int]:
        """Token lengths with the long tail that real collections have, kept within bounds."""
        shortest, longest = bounds
        draws = (round(median * self._random.lognormvariate(0, spread)) for _ in range(count))
        return [min(max(draw, shortest), longest) for draw in draws]


def read_passages(sets: Sequence[Path]) -> list[str]:
    """The candidate texts of reranking sets, or the bundled passages where none is given."""
    if not sets:
        return [json.loads(line)["text"] for line in CORPUS.read_text(encoding="utf-8").strip().split("\n")]
    found: list[str] = []
    for file in map(str, sets):
        with open_records(file) as records:
            tasks = map(parse_task, require_objects(records, file, "a reranking set"))
            found += [candidate.text for task in tasks for candidate in task.candidates]
    return found
