"""How each server words a request and its answer: a table, a row a dialect.

Comes in: texts. Goes out: the JSON to send; and of the JSON that comes back, the list of its scores.
Must not know: HTTP, templates, log-odds.

Sources: the servers' own API descriptions (vLLM's and SGLang's protocol classes, the OpenAPI pages of Text Embeddings
Inference and Infinity, Cohere's and Jina's reference of `/rerank`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The names of one server's fields.

    Attributes:
        path: of the endpoint.
        query, documents: fields of the request.
        results: field of the answer that holds the list of scores; None if the answer is that list.
        score: field of one result that holds its number.
        model: field for the model's name, if there is one.
        instruction: field for the instruction, if there is one.
        count: field for how many results are wanted, where a server may have a smaller number of its own.
        logits: what to send for log-odds instead of probabilities; None where there is no way to ask for them.
        always: what every request carries. No server is ever asked to cut a text.
    """

    path: str
    query: str = "query"
    documents: str = "documents"
    results: str | None = "results"
    score: str = "relevance_score"
    model: str | None = "model"
    instruction: str | None = None
    count: str | None = None
    logits: Mapping[str, bool] | None = None
    always: Mapping[str, bool] = dataclasses.field(default_factory=dict)


DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(
        path="score",
        query="text_1",
        documents="text_2",
        results="data",
        score="score",
        instruction="instruction",
        logits={"use_activation": False},
    ),
    "vllm-rerank": Dialect(path="v1/rerank", instruction="instruction", logits={"use_activation": False}),
    "sglang": Dialect(
        path="v1/rerank", results=None, score="score", instruction="instruct", always={"return_documents": False}
    ),
    "tei": Dialect(
        path="rerank",
        documents="texts",
        results=None,
        score="score",
        model=None,
        logits={"raw_scores": True},
        always={"truncate": False},
    ),
    "infinity": Dialect(path="rerank", logits={"raw_scores": True}),
    "cohere": Dialect(path="v1/rerank", count="top_n"),
}
"""Cohere's is also Jina's, and that of most gateways."""


def body_of(
    dialect: Dialect, model: str, query: str, documents: Sequence[str], instruction: str | None, *, logits: bool
) -> dict[str, Any]:
    """The JSON of one request."""
    body: dict[str, Any] = {dialect.query: query, dialect.documents: list(documents), **dialect.always}
    if dialect.model:
        body[dialect.model] = model
    if dialect.instruction and instruction is not None:
        body[dialect.instruction] = instruction
    if dialect.count:
        body[dialect.count] = len(documents)
    if dialect.logits is not None:
        body.update((name, value if logits else not value) for name, value in dialect.logits.items())
    return body
