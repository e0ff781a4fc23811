"""The lexical teacher: a BM25 with light stemming, converted to log-odds."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after all also am an and any are as at be because been before being between both but by can could
    did do does doing during each few for from further had has have having he her here him his how i if in into
    is it its just many may me more most much must my no not of off on once only or other our out over own per
    same she should so some such than that the their them then there these they this those through to too under
    until up upon very was we were what when where which while who whom whose why will with within without would
    yes you your s t one two new used use name term called
        """,
    )
)
STEM_SUFFIXES = ("ations", "ation", "ingly", "ings", "ing", "edly", "ies", "ied", "ers", "er", "es", "ed", "ly", "al")


def stem(word: str) -> str:
    """Return a word without its usual English endings; a crude stem that matches most forms of a word."""
    for suffix in STEM_SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word[: -len(suffix)]
            break
    else:
        if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
            word = word[:-1]
    return word[:-1] if len(word) > 4 and word[-1] in "ey" else word


def terms_of(text: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[^\W_]+", text.lower()) if word not in STOPWORDS]


@dataclass
class Teacher:
    """BM25 over the passages, as a share of the query's weight, and as log-odds."""

    passages: Sequence[str]
    k1: float = 1.2
    b: float = 0.5
    documents_with: Counter[str] = field(init=False)
    average_length: float = field(init=False)

    def __post_init__(self) -> None:
        bags = [terms_of(passage) for passage in self.passages]
        self.documents_with = Counter(term for bag in bags for term in set(bag))
        self.average_length = sum(map(len, bags)) / len(bags)

    def idf(self, term: str) -> float:
        df = self.documents_with[term]
        return math.log(1 + (len(self.passages) - df + 0.5) / (df + 0.5))

    def share(self, query: str, document: str) -> float:
        """Return how much of the query the document covers: 0 for no shared term, about 1 if each occurs once."""
        weights = {term: self.idf(term) for term in terms_of(query)}
        bag = terms_of(document)
        counts = Counter(bag)
        norm = self.k1 * (1 - self.b + self.b * len(bag) / self.average_length)
        gained = sum(w * counts[t] * (self.k1 + 1) / (counts[t] + norm) for t, w in weights.items())
        return gained / max(sum(weights.values()), 1e-6)

    def log_odds(self, query: str, document: str) -> float:
        return min(max(8.0 * (self.share(query, document) - 0.45), -4.0), 5.0)
