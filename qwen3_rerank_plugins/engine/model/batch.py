"""Turn a batch plan into tensors: all tokens of the batch in one row, without padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True)
class PackedBatch:
    """One forward pass over T tokens and N documents.

    Attributes:
        input_ids: [T] int64, slice after slice: a prefix, then its documents.
        positions: [T] int64; 0..P-1 in a prefix, and from P on in each of its documents.
        last_token_indices: [N] int64, the row of each document's last token, in plan order.
        layout: which of the T tokens attend to which.
        last_layout: the same for the N last tokens only, which are all that the last layer needs.
        prompt_lengths: for each slice, its number of tokens, and a range from its shortest to its longest prompt.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    last_token_indices: torch.Tensor
    layout: AttentionLayout
    last_layout: AttentionLayout
    prompt_lengths: tuple[tuple[int, range], ...]

    def to(self, device: torch.device) -> PackedBatch:
        """Return a copy on another device."""
        return PackedBatch(
            self.input_ids.to(device),
            self.positions.to(device),
            self.last_token_indices.to(device),
            AttentionLayout(self.layout.segments, device),
            AttentionLayout(self.last_layout.segments, device),
            self.prompt_lengths,
        )


def build_batch(requests: Sequence[TokenizedRequest], plan: BatchPlan, device: torch.device) -> PackedBatch:
    """Put the documents of a plan into one row, each slice behind its prefix, with the layout of their attention."""
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
