"""Score documents again in float32 whose scores overflowed in 16 bits."""

from __future__ import annotations

from qwen3_rerank_plugins.engine.scheduling.loaded_engine import RunBatch
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest


def rescore_one(queued: QueuedRequest, run: RunBatch) -> None:
    """Score one document in its own batch, because memory may be scarce and other requests are waiting."""
    document = queued.to_rescore.popleft()
    tokens = len(queued.request.prefix) + len(queued.request.document_ids[document])
    plan = BatchPlan((RequestSlice(0, (document,), tokens),))
    with queued.meter.call.computing():
        (queued.scores[document],) = run([queued.request], plan)
    queued.rescored.append(document)
    queued.meter.count_pass(tokens)
