"""Turn a batch plan into tensors: all tokens of the batch in one row, without padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment
from qwen3_rerank_plugins.engine.model.varlen import varlen_calls
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

_ALIGNMENT = 4
"""Elements. Each uploaded tensor starts at a multiple of 16 bytes, for which kernels have one compiled version."""


@dataclasses.dataclass(frozen=True, slots=True)
class PackedBatch:
    """One forward pass over T tokens and N documents.

    Attributes:
        input_ids: [T] int32, slice after slice: a prefix, then its documents.
        positions: [T] int32; 0..P-1 in a prefix, and from P on in each of its documents.
        last_token_indices: [N] int32, the row of each document's last token, in plan order.
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
        """Return a copy on another device, with the arguments of flash attention if they were computed.

        All tensors move as one. From pinned memory to a GPU, the copy is only queued.
        """
        if device == self.layout.device:
            return self
        layouts = self.layout, self.last_layout
        calls = [layout.stored(varlen_calls) or () for layout in layouts]
        of_calls = [tensor for part in calls for call in part for tensor in call.tensors]
        moved = iter(_move_as_one([self.input_ids, self.positions, self.last_token_indices, *of_calls], device))
        input_ids, positions, last_token_indices = next(moved), next(moved), next(moved)
        copies: list[AttentionLayout] = []
        for layout, part in zip(layouts, calls, strict=True):
            copies.append(AttentionLayout(layout.segments, device))
            if part:
                there = tuple(call.with_tensors([next(moved) for _ in call.tensors]) for call in part)
                copies[-1].store(varlen_calls, there)
        layout, last_layout = copies
        return PackedBatch(input_ids, positions, last_token_indices, layout, last_layout, self.prompt_lengths)


def build_batch(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> PackedBatch:
    """Put the documents of a plan into one row, each slice behind its prefix, with the layout of their attention.

    The result is on the CPU, so that it can be built while a GPU works.
    """
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
    cpu = torch.device("cpu")
    return PackedBatch(
        input_ids=torch.tensor(ids, dtype=torch.int32),
        positions=torch.tensor(positions, dtype=torch.int32),
        last_token_indices=torch.tensor(last_token_indices, dtype=torch.int32),
        layout=AttentionLayout(tuple(segments), cpu),
        last_layout=AttentionLayout(tuple(last_segments), cpu),
        prompt_lengths=tuple(prompt_lengths),
    )


def _move_as_one(tensors: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Return copies of 1-D int32 tensors on another device, made by one transfer."""
    lengths = [len(tensor) + -len(tensor) % _ALIGNMENT for tensor in tensors]
    pin = device.type == "cuda" and tensors[0].device.type == "cpu" and torch.cuda.is_available()
    joined = torch.empty(sum(lengths), dtype=torch.int32, device=tensors[0].device, pin_memory=pin)
    for part, tensor in zip(torch.split(joined, lengths), tensors, strict=True):
        part[: len(tensor)] = tensor
    moved = joined.to(device, non_blocking=pin)
    return [part[: len(tensor)] for part, tensor in zip(torch.split(moved, lengths), tensors, strict=True)]
