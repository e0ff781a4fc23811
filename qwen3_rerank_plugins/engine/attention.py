"""Causal attention over segments of a packed row: one signature, several kernels, chosen by argument.

Comes in: queries, keys and values of all tokens, and an `AttentionLayout`. Goes out: the attended values.
Must not know: layers, weights, scores.

Shapes: Tq query rows, T key/value rows, H query heads, G key/value heads (H a multiple of G), D head_dim.
Grouped-query attention: query head h reads key/value head h // (H // G).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn import functional

from qwen3_rerank_plugins.engine.settings import AttentionName
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError


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

    @functools.cached_property
    def cumulative_queries(self) -> torch.Tensor:
        """[S + 1] int32: where each segment's query rows start."""
        return self._cumulative([len(segment.queries) for segment in self.segments])

    @functools.cached_property
    def cumulative_keys(self) -> torch.Tensor:
        """[S + 1] int32: where each segment's keys start among the gathered keys."""
        return self._cumulative([segment.keys for segment in self.segments])

    @functools.cached_property
    def key_rows(self) -> torch.Tensor:
        """[sum of keys] int64: the rows to gather; the context's rows repeat for every segment that sees them."""
        pieces = [torch.arange(piece.start, piece.stop) for segment in self.segments for piece in _pieces(segment)]
        return torch.cat(pieces).to(self.device)

    @functools.cached_property
    def longest_query(self) -> int:
        """Query rows of the longest segment."""
        return max(len(segment.queries) for segment in self.segments)

    @functools.cached_property
    def longest_key(self) -> int:
        """Key rows of the longest segment."""
        return max(segment.keys for segment in self.segments)

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


def count_parts(total: int, rows: int | None) -> int:
    """How many parts of about `rows` make up `total`; None is one part of all."""
    return max(1, round(total / rows)) if rows else 1


class Attention(Protocol):
    """The one signature of every kernel."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        """[Tq, H, D], [T, G, D], [T, G, D] -> [Tq, H, D]."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionChoice:
    """A kernel, its name, and why it was chosen."""

    name: str
    reason: str
    attend: Attention


def choose_attention(name: AttentionName, device: torch.device, dtype: torch.dtype) -> AttentionChoice:
    """Pick the kernel for a device and dtype; "auto" takes flash attention wherever it can run.

    Raises:
        SettingsError: a kernel was asked for by name that cannot run here.
        MissingExtraError: "flash_attn" was asked for and is not installed.
    """
    obstacle = _flash_obstacle(device, dtype)
    if name == "auto":
        return _choose_freely(obstacle)
    if name == "sdpa":
        return AttentionChoice(name, "asked for", sdpa_attention)
    attend = None if obstacle else (_load_varlen() if name == "varlen" else _load_flash_attn())
    if attend is None:
        reason = obstacle or f"torch {torch.__version__} has no varlen attention, 2.10 and later have"
        raise SettingsError(f"attention={name!r} cannot run here: {reason}. Use attention='auto'.")
    return AttentionChoice(name, "asked for", attend)


def _choose_freely(obstacle: str | None) -> AttentionChoice:
    if obstacle:
        return AttentionChoice("sdpa", obstacle, sdpa_attention)
    varlen = _load_varlen()
    if varlen is not None:
        return AttentionChoice("varlen", "flash attention inside torch", varlen)
    missing = f"torch {torch.__version__} has no varlen attention"
    if importlib.util.find_spec("flash_attn") is not None:
        return AttentionChoice("flash_attn", missing, _load_flash_attn())
    return AttentionChoice("sdpa", f"{missing} and flash-attn is not installed", sdpa_attention)


def sdpa_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """Segment by segment through torch's scaled_dot_product_attention: any device, any dtype."""
    attended = torch.empty_like(query)
    for segment in layout.segments:
        rows = slice(segment.queries.start, segment.queries.stop)
        before = segment.keys - len(segment.queries)
        # a long document may leave out the masked half, which pays for computing what stands before it again
        causal = len(segment.queries) >= _CAUSAL_WORTHWHILE and len(segment.queries) > 4 * before
        attend = _attend_causally if causal else _attend_in_blocks
        attend(query[rows], key, value, segment, scale, attended[rows])
    return attended


_CAUSAL_WORTHWHILE = 1280
"""Query rows; with fewer, blocks are faster."""
_CPU_BLOCK = 128
"""Query rows of a block on a CPU: the masked part of the work is small then, the matrices large enough."""
_BLOCK = 1024
"""The same elsewhere: few large kernels, and a mask that does not grow with the square of a document."""


def _attend_in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segment: Segment, scale: float, attended: torch.Tensor
) -> None:
    """[L, H, D], [T, G, D], [T, G, D] -> `attended`, [L, H, D]: some queries at a time, over what they may see.

    The query heads that share a key/value head stand below each other as rows of one matrix, L * H/G of them, so that
    keys and values are neither repeated nor read more than once.
    """
    groups, size = key.shape[1:]
    group = query.shape[1] // groups
    keys, values = (
        torch.cat([states[piece.start : piece.stop].transpose(0, 1) for piece in _pieces(segment)], 1)  # [G, K, D]
        for states in (key, value)
    )
    queries, before = len(query), segment.keys - len(query)
    step = _CPU_BLOCK if query.device.type == "cpu" else _BLOCK
    for start in range(0, queries, step):
        rows = slice(start, min(start + step, queries))
        length, seen = rows.stop - start, before + rows.stop
        mask = None
        if length > 1:
            allowed = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril(before + start)
            mask = allowed.repeat_interleave(group, 0)
        block = query[rows].view(length, groups, group, size).transpose(0, 1).reshape(1, groups, length * group, size)
        found = functional.scaled_dot_product_attention(
            block, keys[None, :, :seen], values[None, :, :seen], attn_mask=mask, scale=scale
        )
        attended[rows] = found.view(groups, length, group, size).transpose(0, 1).flatten(1, 2)


def _attend_causally(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segment: Segment, scale: float, attended: torch.Tensor
) -> None:
    """The same by the kernel's own causal mask, one key/value head at a time, so that copies of it stay small.

    torch aligns that mask at the top left: rows of zeros in front make top left and bottom right the same.
    """
    before = segment.keys - len(query)
    group = query.shape[1] // key.shape[1]
    for head in range(key.shape[1]):
        heads = slice(head * group, (head + 1) * group)
        keys, values = (
            torch.cat([states[piece.start : piece.stop, head] for piece in _pieces(segment)]).expand(1, group, -1, -1)
            for states in (key, value)
        )
        padded = functional.pad(query[:, heads].transpose(0, 1), (0, 0, before, 0))  # [H/G, K, D]
        found = functional.scaled_dot_product_attention(padded[None], keys, values, is_causal=True, scale=scale)
        attended[:, heads] = found[0, :, before:].transpose(0, 1)


def adapt_varlen(varlen_attn: Callable[..., Any]) -> Attention:
    """Fit torch's varlen_attn to our signature, whichever of its signatures this torch has.

    torch 2.10 says `is_causal`; 2.11 says `window_size` and takes `scale`; 2.12 and later add `enable_gqa` and
    `num_splits`. Where `scale` is missing the kernel's own 1/sqrt(D) must be what is asked for; where `enable_gqa` is
    missing the key/value heads are repeated. `num_splits=1` makes the result independent of the rest of the batch.
    """
    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "num_splits" in known:
        options["num_splits"] = 1
    grouped = "enable_gqa" in known

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        if "scale" in known:
            options["scale"] = scale
        elif abs(scale * query.shape[-1] ** 0.5 - 1) > 1e-6:
            raise SettingsError(f"This torch's varlen attention cannot scale by {scale}. Use attention='sdpa'.")
        group = query.shape[1] // key.shape[1]
        if grouped:
            options["enable_gqa"] = group > 1
        elif group > 1:
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        attended: torch.Tensor = varlen_attn(
            query,
            key[layout.key_rows],
            value[layout.key_rows],
            layout.cumulative_queries,
            layout.cumulative_keys,
            layout.longest_query,
            layout.longest_key,
            **options,
        )
        return attended

    return attend


def _load_varlen() -> Attention | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return adapt_varlen(varlen_attn)


def _load_flash_attn() -> Attention:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        raise MissingExtraError("flash-attn", "flash") from error

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
    ) -> torch.Tensor:
        attended: torch.Tensor = flash_attn_varlen_func(
            query,
            key[layout.key_rows],
            value[layout.key_rows],
            layout.cumulative_queries,
            layout.cumulative_keys,
            layout.longest_query,
            layout.longest_key,
            softmax_scale=scale,
            causal=True,
        )
        return attended

    return attend


def _flash_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return f"flash attention needs a CUDA device, this is {device.type}"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"flash attention needs float16 or bfloat16, this is {str(dtype).removeprefix('torch.')}"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"flash attention needs compute capability 8.0, this device has {major}.{minor}"
    return None


def _middle(rows: range) -> float:
    return (rows.start + rows.stop) / 2


def _pieces(segment: Segment) -> tuple[range, ...]:
    return (segment.context, segment.own) if segment.context else (segment.own,)
