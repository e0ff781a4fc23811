"""A first stage for the demo: passages ordered by the words they share with the question, in the BM25 formula.

Comes in: a question and passages. Goes out: their positions, best first.
Must not know: models. It reads words, never meanings, and that is what the reranker behind it is for.

Source: S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
"""The formula's k1 and b, at their usual values."""


def keyword_order(query: str, documents: Sequence[str]) -> list[int]:
    """Positions of the documents, best match first; ties keep the order of the documents."""
    counts = [Counter(_words(document)) for document in documents]
    average_length = sum(count.total() for count in counts) / len(counts)
    found_in = Counter(word for count in counts for word in count)

    def score(position: int) -> float:
        count = counts[position]
        length_penalty = 1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * count.total() / average_length
        return sum(
            _rarity(found_in[word], len(documents))
            * count[word]
            * (_SATURATION + 1)
            / (count[word] + _SATURATION * length_penalty)
            for word in _words(query)
            if word in count
        )

    return sorted(range(len(documents)), key=lambda position: -score(position))


def _rarity(found_in: int, documents: int) -> float:
    """A word says more about a passage the fewer passages have it."""
    return math.log(1 + (documents - found_in + 0.5) / (found_in + 0.5))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
