"""The JSON of each kind of rerank server: requests to it and answers from it.

Sources: the servers' API descriptions (the protocol classes of vLLM and SGLang, the OpenAPI pages of Text Embeddings
Inference and Infinity, and the references of `/rerank` by Cohere and Jina).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from qwen3_rerank_plugins.errors import RemoteAnswerError

Scale = Literal["probability", "logit"]
_CERTAIN, _IMPOSSIBLE = 40.0, -750.0
"""Finite log-odds of a probability that was rounded to 1 or 0. The floats next to 1 and 0 have 36.7 and -744.4, and the
probabilities of these two are exactly 1 and 0 again."""
_ROUNDING = 1e-4
"""How far beyond 0 or 1 a probability may be, because servers compute with few bits."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSpec:
    """The names of one protocol's fields.

    Attributes:
        path: of the endpoint.
        query, documents: fields of the request.
        results: field of the answer that holds the list of results; None if the answer is that list.
        score: field of one result that holds its score.
        model: field for the model's name, if there is one.
        instruction: field for the instruction, if there is one.
        count: field for the number of results, where a server may return fewer by default.
        logits: fields that ask for log-odds instead of probabilities; None if the protocol has none.
        always: fields of every request. No server is ever asked to truncate a text.
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


PROTOCOLS: Mapping[str, ProtocolSpec] = {
    "vllm": ProtocolSpec(
        path="score",
        query="text_1",
        documents="text_2",
        results="data",
        score="score",
        instruction="instruction",
        logits={"use_activation": False},
    ),
    "vllm-rerank": ProtocolSpec(path="v1/rerank", instruction="instruction", logits={"use_activation": False}),
    "sglang": ProtocolSpec(
        path="v1/rerank", results=None, score="score", instruction="instruct", always={"return_documents": False}
    ),
    "tei": ProtocolSpec(
        path="rerank",
        documents="texts",
        results=None,
        score="score",
        model=None,
        logits={"raw_scores": True},
        always={"truncate": False},
    ),
    "infinity": ProtocolSpec(path="rerank", logits={"raw_scores": True}),
    "cohere": ProtocolSpec(path="v1/rerank", count="top_n"),
}
"""Jina and most gateways use the protocol of Cohere."""


def body_of(
    protocol: ProtocolSpec, model: str, query: str, documents: Sequence[str], instruction: str | None, *, logits: bool
) -> dict[str, Any]:
    """Return the JSON of one request; `logits` asks for log-odds instead of probabilities."""
    body: dict[str, Any] = {protocol.query: query, protocol.documents: list(documents), **protocol.always}
    if protocol.model:
        body[protocol.model] = model
    if protocol.instruction and instruction is not None:
        body[protocol.instruction] = instruction
    if protocol.count:
        body[protocol.count] = len(documents)
    if protocol.logits is not None:
        body.update((name, value if logits else not value) for name, value in protocol.logits.items())
    return body


def read_answer(
    answer: object, protocol: ProtocolSpec, documents: int, scale: Scale, quote: Callable[[object], str]
) -> tuple[float, ...]:
    """Return the log-odds of each document, in the order in which they were sent.

    Args:
        answer: the JSON of the answer.
        protocol: of the server.
        documents: how many documents were sent.
        scale: what the scores are.
        quote: makes the server's text safe to show.

    Returns:
        One log-odds per document; NaN where the server sent null, because JSON cannot represent NaN.

    Raises:
        RemoteAnswerError: a field is missing or malformed, a document has no result or two, or a score is not a
            probability although `scale` says so.
    """
    found: dict[int, float] = {}
    try:
        for item in _results(answer, protocol):
            index = _index(item, documents)
            if index in found:
                raise _OddError(f"two results for document {index}", answer)
            found[index] = _log_odds(item, protocol.score, scale)
        if len(found) != documents:
            missing = next(index for index in range(documents) if index not in found)
            raise _OddError(f"{len(found)} results for {documents} documents; document {missing} has none", answer)
    except _OddError as error:
        message = f"The server's answer has {error.what}: {quote(error.shown)}. {error.remedy}"
    else:
        return tuple(found[index] for index in range(documents))
    raise RemoteAnswerError(message)


def log_odds_of(probability: float) -> float:
    """Return log(p / (1 - p)); for a p of 0 or 1, a finite number beyond all others."""
    if probability in (0, 1):
        return _CERTAIN if probability else _IMPOSSIBLE
    return math.log(probability) - math.log1p(-probability)


class _OddError(Exception):
    def __init__(self, what: str, shown: object, remedy: str = "Check remote=URL and protocol=...") -> None:
        super().__init__(what)
        self.what, self.shown, self.remedy = what, shown, remedy


def _results(answer: object, protocol: ProtocolSpec) -> list[object]:
    results = answer
    if protocol.results is not None:
        results = answer.get(protocol.results) if isinstance(answer, dict) else None
    if not isinstance(results, list):
        where = f"no list under {protocol.results!r}" if protocol.results else "no list of results"
        raise _OddError(where, answer)
    return results


def _index(item: object, documents: int) -> int:
    if not isinstance(item, dict):
        raise _OddError("a result that is no object", item)
    if "index" not in item:
        raise _OddError("a result without the field 'index'", item)
    index = item["index"]
    if not isinstance(index, int) or isinstance(index, bool):
        raise _OddError("a result whose index is no whole number", item)
    if not 0 <= index < documents:
        raise _OddError(f"a result with an index other than those of the {documents} documents that were sent", item)
    return index


def _log_odds(item: object, field: str, scale: Scale) -> float:
    assert isinstance(item, dict)
    if field not in item:
        raise _OddError(f"a result without the field {field!r}, which has the score in this protocol", item)
    score = item[field]
    if score is None:
        return math.nan
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise _OddError("a result whose score is no number", item)
    try:
        number = float(score)
    except OverflowError:  # JSON has whole numbers of any length
        raise _OddError("a score beyond the range of floating-point numbers", item) from None
    if scale == "logit" or math.isnan(number):
        return number
    if not -_ROUNDING <= number <= 1 + _ROUNDING:
        raise _OddError(
            "a score that is no probability",
            item,
            "If the server sends log-odds, because it applies no activation, say scores='logit'.",
        )
    return log_odds_of(min(max(number, 0.0), 1.0))
