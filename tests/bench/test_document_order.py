"""Log-odds of batches in the order of the documents."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_rerank_plugins.bench.document_order import log_odds_by_document
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice, Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


def request(*lengths: int) -> TokenizedRequest:
    """Documents whose tokens are all their own length."""
    documents = tuple((length,) * length for length in lengths)
    return TokenizedRequest((0,), documents, tuple(range(len(lengths))), (0,) * len(lengths))


def length_of_each(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
    """A model whose score of a document is its length."""
    return [
        float(len(requests[part.request].document_ids[document])) for part in plan.slices for document in part.documents
    ]


def test_documents_of_different_lengths_keep_their_own_scores() -> None:
    requests = [request(3, 9, 1, 7), request(2, 8)]
    for budget in (5, 12, 100):  # several batches, and one
        plans = plan_batches([*map(Workload.of, requests)], budget)
        planned = [score for plan in plans for score in length_of_each(requests, plan)]
        assert planned != [3, 9, 1, 7, 2, 8]
        assert log_odds_by_document(length_of_each, requests, plans) == [3, 9, 1, 7, 2, 8]


def test_a_document_that_occurs_twice_has_two_results() -> None:
    twice = TokenizedRequest((0,), ((1,), (2, 2)), (1, 0, 1), (0, 0, 0))
    plan = BatchPlan((RequestSlice(0, (1, 0), 4),))
    assert log_odds_by_document(length_of_each, [twice], [plan]) == [2, 1, 2]
