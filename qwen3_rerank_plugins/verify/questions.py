"""Questions -> their log-odds, one after the other.

Comes in: `Question`s and a reranker. Goes out: one log-odds a document, in the order of the documents.
Must not know: what was expected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

OnProgress = Callable[[int], None]
"""Told how many documents were just scored."""

PIECE = 64
"""Documents of one call; a bar that counts documents moves on after each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One query and the documents to be scored for it.

    Attributes:
        query: what is looked for.
        documents: the texts.
        instruction: what relevant means; None is the model card's, whatever this version of the package has for it.
        place: where the question came from, for messages.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    location: str = dataclasses.field(default="", compare=False)


def ignore_progress(documents: int) -> None:
    """For those who do not watch."""


def count_documents(questions: Iterable[Question]) -> int:
    """Documents of all questions.

    Raises:
        RequestError: there are none, and so nothing to find out.
    """
    documents = sum(len(question.documents) for question in questions)
    if not documents:
        raise RequestError("There is not one document to score. Name texts that hold some.")
    return documents


def score_questions(
    reranker: Qwen3Reranker, questions: Sequence[Question], on_progress: OnProgress = ignore_progress
) -> list[tuple[float, ...]]:
    """Log-odds of all documents of each question.

    One call at a time: in 16 bits a score moves a little with its company in a pass, and here the company is the same
    in every run.

    Raises:
        As `Qwen3Reranker.rank`, and as `count_documents`; a `RequestError` names the question's place.
    """
    count_documents(questions)
    return [_score(reranker, question, on_progress) for question in questions]


def _score(reranker: Qwen3Reranker, question: Question, on_progress: OnProgress) -> tuple[float, ...]:
    found: list[float] = []
    for start in range(0, len(question.documents), PIECE):
        piece = question.documents[start : start + PIECE]
        try:
            ranked = reranker.rank(question.query, piece, instruction=question.instruction, top_n=None, min_score=None)
        except RequestError as error:
            if not question.location:
                raise
            raise RequestError(f"{question.location}: {error}") from error
        found += (document.logit for document in sorted(ranked, key=lambda document: document.index))
        on_progress(len(piece))
    return tuple(found)
