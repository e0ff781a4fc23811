"""Split one request over several devices so that all of them finish at about the same time, in plain integers.

Every shard computes the prefix again, so a request is split only if each shard is large: at least `SMALLEST_SHARD`
tokens of documents, and at least four times the prefix. The total work grows by at most a quarter.

Bound: of two devices with shards, one finishes at most one document's tokens after the other.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.scheduling.packing import Workload

SMALLEST_SHARD = 1024
"""Tokens. From this size on, tokens dominate the time of a batch, not reading the weights or starting kernels."""
_PREFIXES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """Some documents of a request, for one device.

    Attributes:
        device: position of the device.
        documents: ascending positions of the documents.
        tokens: prefix and documents, in tokens.
    """

    device: int
    documents: tuple[int, ...]
    tokens: int


def may_split(workload: Workload) -> bool:
    """Whether a request is large enough for two shards; for any other, `shard_request` takes hardly any time."""
    return sum(workload.document_lengths) >= 2 * _smallest_shard(workload)


def shard_request(workload: Workload, outstanding: Sequence[int]) -> list[Shard]:
    """Split a request over as many devices as its size allows, starting with those that have the least work.

    Args:
        workload: the request's lengths.
        outstanding: for each device, the tokens that it still has to process.

    Returns:
        Shards for different devices that hold every document exactly once; a single one if the request is small.
    """
    lengths, smallest = workload.document_lengths, _smallest_shard(workload)
    document_tokens = sum(lengths)
    least_busy = sorted(range(len(outstanding)), key=lambda device: outstanding[device])
    longest_first = sorted(range(len(lengths)), key=lambda document: -lengths[document])
    for count in range(min(len(least_busy), document_tokens // smallest), 1, -1):
        chosen = {device: outstanding[device] for device in least_busy[:count]}
        # the most that the busiest device may get; if that is too little, balancing is not needed to see it
        share = (document_tokens + sum(chosen.values())) / count - max(chosen.values()) + max(lengths)
        if share < smallest:
            continue
        shards = _balance(workload, longest_first, chosen)
        if all(shard.tokens - workload.prefix >= smallest for shard in shards):
            return shards
    return [Shard(least_busy[0], tuple(range(len(lengths))), workload.prefix + document_tokens)]


def _smallest_shard(workload: Workload) -> int:
    return max(SMALLEST_SHARD, _PREFIXES * workload.prefix)


def _balance(workload: Workload, longest_first: Sequence[int], outstanding: dict[int, int]) -> list[Shard]:
    """Give each document, the longest first, to the device that would finish first; some devices may get none."""
    ends = [(tokens + workload.prefix, device) for device, tokens in outstanding.items()]
    heapq.heapify(ends)
    documents: dict[int, list[int]] = {device: [] for device in outstanding}
    for document in longest_first:
        end, device = ends[0]
        documents[device].append(document)
        heapq.heapreplace(ends, (end + workload.document_lengths[document], device))
    return [
        Shard(device, tuple(sorted(mine)), workload.prefix + sum(workload.document_lengths[one] for one in mine))
        for device, mine in documents.items()
    ]
