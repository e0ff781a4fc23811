"""The engine against three independent implementations, on random checkpoints with the real tokenizer, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.bundled_data import declaration_tasks
from tests.checkpoints import SHAPES
from tests.references import CardReference, MtebReference, Pairs, SentenceTransformersReference

TOLERANCE = 1e-3
"""Absolute difference of log-odds that the design allows in float32; what is measured is near 1e-5."""

REFERENCES = {
    "card": CardReference,
    "sentence-transformers": SentenceTransformersReference,
    "mteb": pytest.param(
        MtebReference,
        # its call to tokenizer.pad passes a max_length that is not used
        marks=pytest.mark.filterwarnings("ignore:`max_length` is ignored when `padding`=`True`"),
    ),
}


def make_pairs() -> Pairs:
    """Real texts in three scripts, one word, a long document, code, emoji."""
    found = [
        (task["query"], candidate["text"])
        for language in ("eng", "arb", "cmn_hans")
        for task in declaration_tasks(language, 2, candidates=3)
        for candidate in task["candidates"]
    ]
    return [
        *found,
        ("sort a list", "def sort_list(xs):\n    return sorted(xs)"),
        ("", "an empty query is still a query"),
        ("what?", "x"),
        ("emoji", "👩‍🚀🏳️‍🌈 \t\n\n trailing"),
        ("long", "The quick brown fox jumps over the lazy dog. " * 150),
    ]


def ours(folder: Path, pairs: Pairs, **options: Any) -> list[float]:
    with Qwen3Reranker(str(folder), dtype="float32", **options) as reranker:
        return log_odds(reranker, pairs)


def log_odds(reranker: Qwen3Reranker, pairs: Pairs) -> list[float]:
    """Log-odds in the order of the pairs, the pairs of a query ranked together."""
    found: dict[tuple[str, str], float] = {}
    for query in dict(pairs):
        for ranked in reranker.rank(query, [document for asked, document in pairs if asked == query]):
            found[query, ranked.text] = ranked.logit
    return [found[pair] for pair in pairs]


def largest_difference(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES.keys())
def test_log_odds_equal_an_independent_reference(reference: Any, shape: str, checkpoint: Callable[[str], Path]) -> None:
    folder, pairs = checkpoint(shape), make_pairs()
    expected = reference(folder).log_odds(pairs)
    assert max(expected) - min(expected) > 1, "scores too alike to show anything"
    assert largest_difference(ours(folder, pairs), expected) <= TOLERANCE


def test_an_instruction_of_the_caller_reaches_the_model_as_in_the_reference(
    checkpoint: Callable[[str], Path],
) -> None:
    pairs = [("which one?", "this one"), ("which one?", "that one")]
    instruction = "Given a riddle, find its answer"
    expected = CardReference(checkpoint("grouped")).log_odds(pairs, instruction)
    assert largest_difference(ours(checkpoint("grouped"), pairs, instruction=instruction), expected) <= TOLERANCE
    assert largest_difference(ours(checkpoint("grouped"), pairs), expected) > TOLERANCE


@pytest.mark.parametrize("budget", [1, 300, 1000])
def test_the_budget_does_not_change_a_score(budget: int, checkpoint: Callable[[str], Path]) -> None:
    pairs = make_pairs()
    whole = ours(checkpoint("grouped"), pairs)
    assert largest_difference(ours(checkpoint("grouped"), pairs, max_batch_tokens=budget), whole) <= 1e-4


def test_a_score_alone_equals_the_score_in_company(checkpoint: Callable[[str], Path]) -> None:
    pairs = make_pairs()
    with Qwen3Reranker(str(checkpoint("untied"))) as reranker:
        together = log_odds(reranker, pairs)
        alone = [reranker.rank(query, [document])[0].logit for query, document in pairs]
    assert largest_difference(alone, together) <= 1e-4


def test_a_truncated_document_scores_as_the_reference_scores_its_beginning(checkpoint: Callable[[str], Path]) -> None:
    """Cut ids, decoded again, are a text that the reference can be given."""
    folder = checkpoint("grouped")
    reference = CardReference(folder)
    document = "word " * 500
    with Qwen3Reranker(str(folder), max_length=200) as reranker:
        result = reranker.rank("query", [document])[0]
    ids = reference.tokenizer(" " + document, add_special_tokens=False).input_ids
    kept = reference.tokenizer.decode(ids[: len(ids) - result.truncated_tokens])
    assert result.truncated_tokens > 0
    assert abs(reference.log_odds([("query", kept.removeprefix(" "))])[0] - result.logit) <= TOLERANCE
