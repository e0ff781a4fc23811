"""A planned pass -> tensors.

Comes in: tokenised requests and a `BatchPlan`. Goes out: `PackedBatch`: all tokens of the pass in one row, no padding.
Must not know: weights, kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True)
class PackedBatch:
    """One forward pass over T tokens and N tails.

    Attributes:
        input_ids: [T] int64, slice after slice: a prefix, then its tails.
        positions: [T] int64; prefix 0..P-1, and every tail from P on, as if it stood alone behind its prefix.
        last_token_indices: [N] int64, the row of each tail's last token, in plan order.
        layout: who attends to whom, for all T tokens.
        last_layout: the same for the N last tokens only; all that the last layer needs.
        prompt_lengths: for each slice, its tokens among the T, and the shortest to the longest of its prompts.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    last_token_indices: torch.Tensor
    layout: AttentionLayout
    last_layout: AttentionLayout
    prompt_lengths: tuple[tuple[int, range], ...]

    def to(self, device: torch.device) -> PackedBatch:
        """A copy on another device."""
        return PackedBatch(
            self.input_ids.to(device),
            self.positions.to(device),
            self.last_token_indices.to(device),
            AttentionLayout(self.layout.segments, device),
            AttentionLayout(self.last_layout.segments, device),
            self.prompt_lengths,
        )


def build_batch(requests: Sequence[TokenizedRequest], plan: BatchPlan, device: torch.device) -> PackedBatch:
    """Lay the tails of a plan in one row and note who attends to whom."""
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    last_token_indices: list[int] = []
    last_segments: list[Segment] = []
    prompt_lengths: list[tuple[int, range]] = []
    for part in plan.slices:
        request = requests[part.request]
        prefix = range(len(ids), len(ids) + len(request.prefix))
        ids.extend(request.prefix)
        positions.extend(range(len(request.prefix)))
        segments.append(Segment(queries=prefix, context=range(0), own=prefix))
        for document in part.documents:
            document_ids = request.document_ids[document]
            own = range(len(ids), len(ids) + len(document_ids))
            ids.extend(document_ids)
            positions.extend(range(len(prefix), len(prefix) + len(document_ids)))
            segments.append(Segment(queries=own, context=prefix, own=own))
            row = len(last_token_indices)
            last_segments.append(Segment(queries=range(row, row + 1), context=prefix, own=own))
            last_token_indices.append(own[-1])
        lengths = [len(prefix) + len(request.document_ids[document]) for document in part.documents]
        prompt_lengths.append((len(ids) - prefix.start, range(min(lengths), max(lengths) + 1)))
    return PackedBatch(
        input_ids=torch.tensor(ids, device=device),
        positions=torch.tensor(positions, device=device),
        last_token_indices=torch.tensor(last_token_indices, device=device),
        layout=AttentionLayout(tuple(segments), device),
        last_layout=AttentionLayout(tuple(last_segments), device),
        prompt_lengths=tuple(prompt_lengths),
    )
