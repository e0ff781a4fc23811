"""Log-odds in the order of the documents. A plan sorts documents by length, so a batch returns them in another order.

Everything that compares scores of batches calls this function, so that no comparison mixes the two orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_rerank_plugins.engine.scheduling.loaded_engine import RunBatch
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


def log_odds_by_document(
    run: RunBatch, requests: Sequence[TokenizedRequest], plans: Sequence[BatchPlan]
) -> list[float]:
    """Run batches and return the log-odds of all documents, request by request, in the order of the caller.

    Args:
        run: returns the log-odds of one batch in plan order.
        requests: the requests; a document that occurs twice in one of them has two results.
        plans: batches that together hold every document of every request.
    """
    found: dict[tuple[int, int], float] = {}
    for plan in plans:
        keys = [(part.request, document) for part in plan.slices for document in part.documents]
        found.update(zip(keys, run(requests, plan), strict=True))
    return [found[number, document] for number, request in enumerate(requests) for document in request.inverse_index]
