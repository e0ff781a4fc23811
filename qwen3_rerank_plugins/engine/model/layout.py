"""Which tokens of a packed batch attend to which: segments, and the index tensors that kernels need."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class lazy_property(Generic[T]):  # noqa: N801  a decorator
    """A property that is computed at its first use and stored in the object, without a lock.

    `functools.cached_property` of Python 3.11 has one lock per property for all objects. If a process forks while a
    thread computes the property, the lock stays locked in the child.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, _: type | None = None) -> T:
        if owner is None:
            return self  # type: ignore[return-value]  # accessed on the class
        value = owner.__dict__[self._name] = self._compute(owner)
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Query rows and the key rows that they attend to: all of `context`, and `own` causally.

    The queries are the last `len(queries)` tokens of `own`, so the causal mask is aligned at the bottom right.
    """

    queries: range
    context: range
    own: range

    @property
    def keys(self) -> int:
        """Number of key rows."""
        return len(self.context) + len(self.own)

    @property
    def key_ranges(self) -> tuple[range, ...]:
        """The key rows, in order."""
        return (self.context, self.own) if self.context else (self.own,)


@dataclasses.dataclass(frozen=True)
class AttentionLayout:
    """The segments of a batch, whose queries cover the query rows in order. Index tensors are made on first use."""

    segments: tuple[Segment, ...]
    device: torch.device
    _derived: dict[Any, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def parts(self, rows: int | None) -> tuple[LayoutPart, ...]:
        """Split between segments into parts of about so many query rows; None makes one part.

        The rows are divided into equal shares, and each segment goes to the share of its middle row. So a segment that
        is longer than a share stays whole.
        """
        count = count_parts(self.query_rows, rows)
        if count == 1:
            return (LayoutPart(slice(0, self.query_rows), self),)
        share = self.query_rows / count
        by_share = itertools.groupby(
            self.segments, lambda segment: (segment.queries.start + segment.queries.stop) / 2 // share
        )
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
        """Number of query rows."""
        return self.segments[-1].queries.stop

    @lazy_property
    def padded_groups(self) -> tuple[PaddedGroup, ...]:
        """All segments in order, with short documents grouped where little padding makes them equally long."""
        return tuple(PaddedGroup(tuple(segments), self.device) for segments in _group(self.segments))

    @property
    def key_rows(self) -> int:
        """Number of tokens whose keys and values exist."""
        return self.segments[-1].own.stop

    def derive(self, compute: Callable[[AttentionLayout], T]) -> T:
        """Return `compute(self)`, which is what one kernel needs of the layout. It is computed once and stored."""
        if compute not in self._derived:
            self._derived[compute] = compute(self)
        found: T = self._derived[compute]
        return found

    def stored(self, compute: Callable[[AttentionLayout], T]) -> T | None:
        """Return what `derive(compute)` stored, or None before it was called."""
        return self._derived.get(compute)

    def store(self, compute: Callable[[AttentionLayout], T], value: T) -> None:
        """Store what `derive(compute)` will return."""
        self._derived[compute] = value


@dataclasses.dataclass(frozen=True, slots=True)
class LayoutPart:
    """Some segments of a layout.

    Attributes:
        rows: their query rows in the whole layout.
        layout: the segments, with query rows counted from the first of the part, and key rows as in the whole layout.
    """

    rows: slice
    layout: AttentionLayout

    def to(self, device: torch.device) -> LayoutPart:
        """Return a copy on another device."""
        return LayoutPart(self.rows, AttentionLayout(self.layout.segments, device))


@dataclasses.dataclass(frozen=True)
class PaddedGroup:
    """One segment, or several short ones with the same context, padded to the longest.

    Shapes: B segments of up to L query rows and K keys; R query rows altogether. Index tensors are made on first use.
    """

    segments: tuple[Segment, ...]
    device: torch.device

    @property
    def rows(self) -> slice:
        """The R query rows in the layout."""
        return slice(self.segments[0].queries.start, self.segments[-1].queries.stop)

    @property
    def queries(self) -> int:
        """L, the query rows of the longest segment."""
        return max(len(segment.queries) for segment in self.segments)

    @property
    def before(self) -> int:
        """How many keys the first query row of each segment attends to, besides its own."""
        return self.segments[0].keys - len(self.segments[0].queries)

    @lazy_property
    def kv_indices(self) -> torch.Tensor:
        """[B * K] int64: context and own rows of each segment; its last row is repeated where the mask hides it."""
        longest = max(len(segment.own) for segment in self.segments)
        context = torch.arange(self.segments[0].context.start, self.segments[0].context.stop)
        rows = [part for segment in self.segments for part in (context, _padded(segment.own, longest))]
        return torch.cat(rows).to(self.device)

    @lazy_property
    def query_rows(self) -> torch.Tensor:
        """[B * L] int64: the rows of each segment among the R, with its last row repeated."""
        first = self.segments[0].queries.start
        rows = torch.cat([_padded(segment.queries, self.queries) for segment in self.segments])
        return (rows - first).to(self.device)

    @lazy_property
    def segment_and_offset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[R] int64 each: the segment of each query row, and the offset of the row in that segment."""
        lengths = [len(segment.queries) for segment in self.segments]
        segments = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        return segments.to(self.device), torch.cat([*map(torch.arange, lengths)]).to(self.device)


def count_parts(total: int, rows: int | None) -> int:
    """Return how many parts of about `rows` make up `total`; None makes one part."""
    return max(1, round(total / rows)) if rows else 1


_MOST_PADDING = 1.06
"""Most work of a padded group, relative to that of its segments alone."""
_KEYS_TOGETHER = 1024
"""Most keys of a padded group of several segments. The memory of larger copies is mapped anew each time, which costs
more than grouping saves."""


def _group(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Yield neighbors that may be padded together."""
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
