"""Questions of mixed sizes, drawn from texts with a seed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from tests.load.texts import Texts

LONGEST_DOCUMENT = 3_000
LONGEST_QUERY = 60
_DOCUMENTS, _DOCUMENT_WEIGHTS = (1, 2, 3, 5, 8, 13, 20, 40), (8, 8, 8, 8, 5, 2, 1, 1)
_TOP_N = (None, None, None, 1, 3, 10)


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """Options of a reranker or an adapter. None is an engine setting, so all manners share one engine."""

    instruction: str | None = None
    max_length: int = 8192

    @property
    def options(self) -> dict[str, Any]:
        """The options as keywords."""
        return dataclasses.asdict(self)


MANNERS = (
    Manner(),
    Manner(instruction="Given a claim, find passages that speak against it"),
    Manner(instruction="Find the passage that a child would understand best"),
    Manner(max_length=320),  # cuts long documents
)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A query with documents and options.

    Attributes:
        number: its position among all questions.
        manner: options of the reranker.
        query: the query.
        documents: the documents.
        top_n: number of documents to return; None is all.
    """

    number: int
    manner: Manner
    query: str
    documents: tuple[str, ...]
    top_n: int | None


def draw_questions(texts: Texts, count: int, seed: int) -> list[Question]:
    """Draw questions of 1 to 40 documents with up to 3,000 characters; some are blank, hostile or identical."""
    dice = random.Random(seed)
    return [
        Question(
            number=number,
            manner=dice.choice(MANNERS),
            query="" if dice.random() < 0.03 else _cut(dice, dice.choice(texts.passages), LONGEST_QUERY),
            documents=_draw_documents(dice, texts, *dice.choices(_DOCUMENTS, _DOCUMENT_WEIGHTS)),
            top_n=dice.choice(_TOP_N),
        )
        for number in range(count)
    ]


def _draw_documents(dice: random.Random, texts: Texts, count: int) -> tuple[str, ...]:
    documents: list[str] = []
    for _ in range(count):
        kind = dice.random()
        if kind < 0.05:
            documents.append(dice.choice(("", " ", "\n\t ")))
        elif kind < 0.10:
            documents.append(dice.choice(texts.hostile))
        elif kind < 0.20 and documents:
            documents.append(dice.choice(documents))
        else:
            documents.append(_draw_text(dice, texts.passages))
    return tuple(documents)


def _draw_text(dice: random.Random, passages: Sequence[str]) -> str:
    """Draw mostly one or two sentences; lengths have the long tail of real collections."""
    length = min(LONGEST_DOCUMENT, round(80 * dice.lognormvariate(0, 1.2)))
    text = dice.choice(passages)
    while len(text) < length:
        text = f"{text} {dice.choice(passages)}"
    return _cut(dice, text, length)


def _cut(dice: random.Random, text: str, length: int) -> str:
    start = dice.randrange(max(1, len(text) - length))
    return text[start : start + length]
