"""Score questions one after another and return the log-odds of their documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

OnProgress = Callable[[int], None]
"""Called with the number of documents that were just scored."""

DOCUMENTS_PER_CALL = 64
"""A progress bar that counts documents advances after each call."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One query and the documents to score for it.

    Attributes:
        query: the query.
        documents: the documents' texts.
        instruction: the instruction; None is the default instruction of this version of the package.
        location: where the question came from, for messages.
    """

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    location: str = dataclasses.field(default="", compare=False)


def count_documents(questions: Iterable[Question]) -> int:
    """Return the number of documents of all questions.

    Raises:
        RequestError: there are no documents.
    """
    documents = sum(len(question.documents) for question in questions)
    if not documents:
        raise RequestError("There are no documents to score. Pass questions that have documents.")
    return documents


def score_questions(
    reranker: Qwen3Reranker, questions: Sequence[Question], on_progress: OnProgress = lambda documents: None
) -> list[tuple[float, ...]]:
    """Return the log-odds of the documents of each question, in the order of the documents.

    Documents are scored in one call at a time, because a score in 16 bits depends slightly on the other documents of
    its batch, and so the batches are the same in every run.

    Raises:
        As `Qwen3Reranker.log_odds` and `count_documents`; a `RequestError` names the question's location.
    """
    count_documents(questions)
    return [_score(reranker, question, on_progress) for question in questions]


def _score(reranker: Qwen3Reranker, question: Question, on_progress: OnProgress) -> tuple[float, ...]:
    log_odds: list[float] = []
    for start in range(0, len(question.documents), DOCUMENTS_PER_CALL):
        texts = question.documents[start : start + DOCUMENTS_PER_CALL]
        try:
            log_odds += reranker.log_odds(question.query, texts, instruction=question.instruction)
        except RequestError as error:
            if not question.location:
                raise
            raise RequestError(f"{question.location}: {error}") from error
        on_progress(len(texts))
    return tuple(log_odds)
