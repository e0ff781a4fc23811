"""A request's tails -> parts for several devices, so that all of them are done at about the same time.

Comes in: the lengths of one request, and how much each device has still to do. Goes out: `Part`s of indices.
Must not know: ids, threads, what a device is. Plain ints only.

Every part computes the prefix again, so a request is split only where each part is large: at least `SMALLEST_PART`
tokens of documents, and at least four times the prefix. The work of all devices together grows by a quarter at most.

Bound: of two devices with parts, one ends at most one document's tokens after the other.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.scheduling.packing import Workload

SMALLEST_PART = 1024
"""Tokens. A pass of so many is paid for its tokens, no longer for reading the weights and starting kernels."""
_PREFIXES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """Some tails of a request, for one device.

    Attributes:
        device: its position.
        tails: ascending positions of the tails.
        tokens: prefix and tails, in tokens.
    """

    device: int
    documents: tuple[int, ...]
    tokens: int


def may_split(workload: Workload) -> bool:
    """Whether a request is large enough for two parts; `shard_request` needs no time for one that is not."""
    return sum(workload.document_lengths) >= 2 * _smallest_part(workload)


def shard_request(workload: Workload, outstanding: Sequence[int]) -> list[Shard]:
    """Split a request over as many devices as it is large enough for, those with the least to do first.

    Args:
        workload: the request's lengths.
        outstanding: for each device, the tokens that it has still to do.

    Returns:
        Parts for different devices, in which every tail stands exactly once; one, if the request is small.
    """
    smallest, document_tokens = _smallest_part(workload), sum(workload.document_lengths)
    free_first = sorted(range(len(outstanding)), key=lambda device: outstanding[device])
    longest_first = sorted(
        range(len(workload.document_lengths)), key=lambda document: -workload.document_lengths[document]
    )
    for count in range(min(len(free_first), document_tokens // smallest), 1, -1):
        busy = {device: outstanding[device] for device in free_first[:count]}
        # what the busiest device may get at most; to see that it is too little takes no balancing
        share = (document_tokens + sum(busy.values())) / count - max(busy.values()) + max(workload.document_lengths)
        if share < smallest:
            continue
        parts = _balance(workload, longest_first, busy)
        if all(part.tokens - workload.prefix >= smallest for part in parts):
            return parts
    return [Shard(free_first[0], tuple(range(len(workload.document_lengths))), workload.prefix + document_tokens)]


def _smallest_part(workload: Workload) -> int:
    return max(SMALLEST_PART, _PREFIXES * workload.prefix)


def _balance(workload: Workload, longest_first: Sequence[int], outstanding: dict[int, int]) -> list[Shard]:
    """Each tail, the longest first, to the device that would be done first; some may get none."""
    ends = [(tokens + workload.prefix, device) for device, tokens in outstanding.items()]
    heapq.heapify(ends)
    documents: dict[int, list[int]] = {device: [] for device in outstanding}
    for document in longest_first:
        end, device = ends[0]
        documents[device].append(document)
        heapq.heapreplace(ends, (end + workload.document_lengths[document], device))
    return [
        Shard(
            device, tuple(sorted(own)), workload.prefix + sum(workload.document_lengths[document] for document in own)
        )
        for device, own in documents.items()
    ]
