"""Who attends to whom in a packed row: segments, whole or in parts, and the index tensors that kernels want.

Comes in: ranges of rows. Goes out: `AttentionLayout`, `LayoutPart`, `PaddedGroup`.
Must not know: queries, keys, values, kernels.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class made_once(Generic[T]):  # noqa: N801  a decorator
    """A property that is computed at its first use and kept in the object.

    It has no lock, which `functools.cached_property` of Python 3.11 has: a process that forks while a thread computes
    such a property leaves the lock closed in the child, for all objects of the class.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, _: type | None = None) -> T:
        if owner is None:
            return self  # type: ignore[return-value]  # asked of the class
        value = owner.__dict__[self._name] = self._compute(owner)
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Some query rows and the key rows they may see: all of `context`, and `own` causally.

    The queries are the last `len(queries)` tokens of `own`: the causal mask is aligned at the bottom right.
    """

    queries: range
    context: range
    own: range

    @property
    def keys(self) -> int:
        """Key rows in all."""
        return len(self.context) + len(self.own)

    @property
    def key_ranges(self) -> tuple[range, ...]:
        """The key rows, in order."""
        return (self.context, self.own) if self.context else (self.own,)


@dataclasses.dataclass(frozen=True)
class AttentionLayout:
    """The segments of a pass; their queries cover the query rows in order. Index tensors are made on first use."""

    segments: tuple[Segment, ...]
    device: torch.device

    def parts(self, rows: int | None) -> tuple[LayoutPart, ...]:
        """Cut between segments into parts of about so many query rows; None leaves it whole.

        A segment belongs to the share of the rows in which its middle lies, so that one that is longer stays whole.
        """
        count = count_parts(self.query_rows, rows)
        if count == 1:
            return (LayoutPart(slice(0, self.query_rows), self),)
        share = self.query_rows / count
        by_share = itertools.groupby(self.segments, lambda segment: _middle(segment.queries) // share)
        return tuple(self._part(tuple(segments)) for _, segments in by_share)

    def _part(self, segments: tuple[Segment, ...]) -> LayoutPart:
        first, stop = segments[0].queries.start, segments[-1].queries.stop
        shifted = (
            dataclasses.replace(one, queries=range(one.queries.start - first, one.queries.stop - first))
            for one in segments
        )
        return LayoutPart(slice(first, stop), AttentionLayout(tuple(shifted), self.device))

    @property
    def query_rows(self) -> int:
        """Query rows in all."""
        return self.segments[-1].queries.stop

    @made_once
    def cu_seqlens_q(self) -> torch.Tensor:
        """[S + 1] int32: where each segment's query rows start."""
        return self._cumulative([len(segment.queries) for segment in self.segments])

    @made_once
    def cu_seqlens_k(self) -> torch.Tensor:
        """[S + 1] int32: where each segment's keys start among the gathered keys."""
        return self._cumulative([segment.keys for segment in self.segments])

    @made_once
    def kv_indices(self) -> torch.Tensor:
        """[sum of keys] int64: the rows to gather; the context's rows repeat for every segment that sees them."""
        key_ranges = [
            torch.arange(piece.start, piece.stop) for segment in self.segments for piece in segment.key_ranges
        ]
        return torch.cat(key_ranges).to(self.device)

    @made_once
    def max_seqlen_q(self) -> int:
        """Query rows of the longest segment."""
        return max(len(segment.queries) for segment in self.segments)

    @made_once
    def max_seqlen_k(self) -> int:
        """Key rows of the longest segment."""
        return max(segment.keys for segment in self.segments)

    @made_once
    def padded_groups(self) -> tuple[PaddedGroup, ...]:
        """All segments in order, short documents together where little padding makes them equally long."""
        return tuple(PaddedGroup(tuple(segments), self.device) for segments in _group(self.segments))

    def _cumulative(self, lengths: list[int]) -> torch.Tensor:
        return torch.tensor([0, *lengths]).cumsum(0).to(self.device, torch.int32)


@dataclasses.dataclass(frozen=True, slots=True)
class LayoutPart:
    """Some of a layout's segments.

    Attributes:
        rows: their query rows among those of the whole layout.
        layout: the segments, their query rows numbered from the part's first; key rows as in the whole layout.
    """

    rows: slice
    layout: AttentionLayout

    def to(self, device: torch.device) -> LayoutPart:
        """A copy on another device."""
        return LayoutPart(self.rows, AttentionLayout(self.layout.segments, device))


@dataclasses.dataclass(frozen=True)
class PaddedGroup:
    """A segment, or several short ones behind the same context, to be padded to the longest.

    Shapes: B segments of up to L query rows and K keys; R query rows in all. Index tensors are made on first use.
    """

    segments: tuple[Segment, ...]
    device: torch.device

    @property
    def rows(self) -> slice:
        """Its R query rows among those of the layout."""
        return slice(self.segments[0].queries.start, self.segments[-1].queries.stop)

    @property
    def queries(self) -> int:
        """L, query rows of the longest segment."""
        return max(len(segment.queries) for segment in self.segments)

    @property
    def before(self) -> int:
        """How many keys a segment's first query row sees beside its own."""
        return self.segments[0].keys - len(self.segments[0].queries)

    @made_once
    def kv_indices(self) -> torch.Tensor:
        """[B * K] int64: context and own rows of each segment; its last row repeated, where nobody looks."""
        longest = max(len(segment.own) for segment in self.segments)
        context = torch.arange(self.segments[0].context.start, self.segments[0].context.stop)
        key_ranges = [piece for segment in self.segments for piece in (context, _padded(segment.own, longest))]
        return torch.cat(key_ranges).to(self.device)

    @made_once
    def query_rows(self) -> torch.Tensor:
        """[B * L] int64: each segment's rows among the R, its last row repeated."""
        first = self.segments[0].queries.start
        rows = torch.cat([_padded(segment.queries, self.queries) for segment in self.segments])
        return (rows - first).to(self.device)

    @made_once
    def segment_and_offset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[R] int64 each: in which segment a query row stands, and where there."""
        lengths = torch.tensor([len(segment.queries) for segment in self.segments])
        inside = torch.cat([torch.arange(int(length)) for length in lengths])
        return torch.arange(len(lengths)).repeat_interleave(lengths).to(self.device), inside.to(self.device)


def count_parts(total: int, rows: int | None) -> int:
    """How many parts of about `rows` make up `total`; None is one part of all."""
    return max(1, round(total / rows)) if rows else 1


_MOST_PADDING = 1.06
"""How many times the work of a bundle may be that of its segments."""
_KEYS_TOGETHER = 1024
"""Keys of a bundle of several, at most: larger copies are mapped anew each time, which costs more than it saves."""


def _group(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Neighbours that may go together."""
    group: list[Segment] = []
    for segment in segments:
        if group and not _fits([*group, segment]):
            yield group
            group = []
        group.append(segment)
    yield group


def _fits(group: list[Segment]) -> bool:
    context, last = group[0].context, group[-1]
    if last.context != context or any(len(one.queries) != len(one.own) for one in (group[0], last)):
        return False
    longest = max(len(one.own) for one in group)
    keys = len(context) + longest
    needed = sum(len(one.own) * one.keys for one in group)
    return len(group) * keys <= _KEYS_TOGETHER and len(group) * longest * keys <= _MOST_PADDING * needed


def _padded(rows: range, length: int) -> torch.Tensor:
    return torch.arange(rows.start, rows.start + length).clamp_(max=rows.stop - 1)


def _middle(rows: range) -> float:
    return (rows.start + rows.stop) / 2
