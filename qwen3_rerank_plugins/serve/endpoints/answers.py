"""The answers of the endpoints for scores, as the clients of each protocol read them."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from qwen3_rerank_plugins.engine.ranking import RankedDocument
from qwen3_rerank_plugins.engine.usage import Usage

COHERE_VERSION = "2"


TruncatedTokens = Annotated[int | None, Field(description="Tokens of the document that were not read, if any.")]
Span = Annotated[
    tuple[int, int] | None, Field(description="Start and end, in characters, of the window that the score belongs to.")
]


def additions(document: RankedDocument) -> dict[str, Any]:
    """Return the fields that this server adds to a result, which clients of the protocols ignore."""
    return {"truncated_tokens": document.truncated_tokens or None, "span": document.span}


class Text(BaseModel):
    """The text of a document."""

    text: str


class RerankResult(BaseModel):
    """One document of an answer to Cohere's, Jina's or vLLM's clients."""

    index: int
    relevance_score: float
    document: Text | None = None
    truncated_tokens: TruncatedTokens = None
    span: Span = None


class Tokens(BaseModel):
    """How many tokens were scored."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class RerankAnswer(BaseModel):
    """The answer to Cohere's, Jina's or vLLM's clients: one object with the fields of all three."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Tokens
    meta: dict[str, Any]


class TeiResult(BaseModel):
    """One document of an answer to clients of Text Embeddings Inference."""

    index: int
    score: float
    text: str | None = None
    truncated_tokens: TruncatedTokens = None
    span: Span = None


class Score(BaseModel):
    """The score of one pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreAnswer(BaseModel):
    """The answer to clients of vLLM's `/score`."""

    id: str
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[Score]
    usage: Tokens


def tokens_of(count: int) -> Tokens:
    """Return the tokens of a request, which has no completion."""
    return Tokens(prompt_tokens=count, total_tokens=count)


def meta_of(usage: Usage) -> dict[str, Any]:
    """Return Cohere's `meta`, in which nothing is billed, and what this server adds: the cost of the request."""
    return {
        "api_version": {"version": COHERE_VERSION},
        "billed_units": {"search_units": 0},
        "tokens": {"input_tokens": usage.naive_tokens or 0, "output_tokens": 0},
        "usage": dataclasses.asdict(usage),
    }
