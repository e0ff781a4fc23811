"""The study of choices: what the engine does and what it could do instead take turns.

The best choice depends on the machine, so measure on yours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Spread, largest_growth, ratios, take_turns
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.model.layer import rms_norm
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

_ROWS = (256, 512, 1024, 2048, 4096, None)
_REPEATS = 20
"""Calls of one operation per measurement: a single one is too short to time."""

Options = Mapping[str, Callable[[], Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Alternative:
    """One option.

    Attributes:
        question: the choice that it belongs to.
        name: the option.
        chosen: whether the engine does this.
        seconds: time of a call.
        ratio: how many times as long as the engine's option it takes, turn by turn.
        peak_growth: peak memory during a call minus memory before it, in bytes; None if unknown.
    """

    question: str
    name: str
    chosen: bool
    seconds: Spread
    ratio: Spread
    peak_growth: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class ChoicesResults:
    """All options, question by question."""

    rounds: int
    alternatives: tuple[Alternative, ...]


def measure_choices(
    requests: Sequence[TokenizedRequest], model: OpenedModel, other_dtype: OpenedModel, rounds: int, tell: OnStep
) -> ChoicesResults:
    """Measure every option of every question, in turns.

    Args:
        requests: what to score.
        model: the model in the dtype that the engine chose.
        other_dtype: the same model in another dtype.
        rounds: number of rounds.
        tell: called before every step.
    """
    placement = model.loaded.placement
    rows = placement.rows_at_once
    plans = model.plan(requests)

    def scoring(packed: PackedModel, opened: OpenedModel = model) -> Callable[[], Any]:
        run = opened.runner(packed)
        return lambda: [run(requests, plan) for plan in plans]

    current = scoring(model.packed())
    questions: dict[str, tuple[str, Options]] = {
        "tokens that go through a layer at a time": (
            _rows_name(rows),
            {_rows_name(count): scoring(model.packed(rows_at_once=count)) for count in _ROWS},
        ),
        "dtype": (
            _dtype_name(model),
            {_dtype_name(opened): scoring(opened.packed(rows_at_once=rows), opened) for opened in (model, other_dtype)},
        ),
        "attention": (
            placement.attention.name,
            {
                placement.attention.name: current,
                "sdpa, one mask over each document": scoring(model.packed(attend=masked_attention)),
            },
        ),
        "norm of the heads": ("ours", _head_norm(model.loaded, rows or 4096)),
        "gate and up projection of the MLP": ("two products", _gate_and_up(model.loaded, rows or 4096)),
    }
    if rows:
        questions["memory of the MLP's two wide tensors"] = (
            "kept for a batch",
            {"kept for a batch": current, "allocated per call": scoring(model.packed(WithoutMlpBuffer))},
        )
    found = []
    for question, (chosen, options) in questions.items():
        for call in options.values():
            call()
        turns = take_turns(options, rounds, placement.device, lambda name, turn: tell(f"{name}, round {turn + 1}"))
        found += [
            Alternative(
                question=question,
                name=name,
                chosen=name == chosen,
                seconds=Spread.of([run.seconds for run in runs]),
                ratio=ratios(turns[chosen], runs),
                peak_growth=largest_growth(runs),
            )
            for name, runs in turns.items()
        ]
    return ChoicesResults(rounds, tuple(found))


class WithoutMlpBuffer(PackedModel):
    """A packed model whose MLP allocates memory in every call."""

    def _allocate_mlp_buffer(self, *_: Any) -> None:
        return None


def masked_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """Compute attention with one SDPA call and one mask per segment; torch repeats the heads.

    Args:
        query: [T, heads, head_dim].
        key: [T, key_value_heads, head_dim].
        value: [T, key_value_heads, head_dim].
        layout: the segments of the batch.
        scale: factor of the attention scores.

    Returns:
        [T, heads, head_dim].
    """
    attended = torch.empty_like(query)
    for segment in layout.segments:
        rows = slice(segment.queries.start, segment.queries.stop)
        key_ranges = [slice(piece.start, piece.stop) for piece in (segment.context, segment.own)]
        keys, values = (torch.cat([states[piece] for piece in key_ranges]).transpose(0, 1) for states in (key, value))
        queries = query[rows].transpose(0, 1)
        mask = torch.ones(queries.shape[1], keys.shape[1], dtype=torch.bool, device=query.device)
        attended[rows] = functional.scaled_dot_product_attention(
            queries[None],
            keys[None],
            values[None],
            attn_mask=mask.tril(keys.shape[1] - queries.shape[1]),
            scale=scale,
            enable_gqa=True,
        )[0].transpose(0, 1)
    return attended


def _rows_name(rows: int | None) -> str:
    return f"{rows:,}" if rows else "all"


def _dtype_name(model: OpenedModel) -> str:
    return str(model.loaded.placement.dtype).removeprefix("torch.")


def _gate_and_up(loaded: LoadedModel, rows: int) -> Options:
    mlp = loaded.causal_lm.model.layers[0].mlp
    hidden = torch.randn(rows, mlp.gate_proj.in_features).to(mlp.gate_proj.weight)
    fused = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])

    def one() -> None:
        gate, up = functional.linear(hidden, fused).chunk(2, dim=-1)
        functional.silu(gate).mul_(up)

    return {
        "two products": _repeated(lambda: functional.silu(mlp.gate_proj(hidden)).mul_(mlp.up_proj(hidden))),
        "one product of both": _repeated(one),
    }


def _head_norm(loaded: LoadedModel, rows: int) -> Options:
    attention = loaded.causal_lm.model.layers[0].self_attn
    norm, heads = attention.q_norm, attention.q_proj.out_features // attention.head_dim
    states = torch.randn(rows, heads, attention.head_dim).to(norm.weight)
    shape = states.shape[-1:]
    return {
        "ours": _repeated(lambda: rms_norm(norm, states)),
        "torch's rms_norm": _repeated(lambda: functional.rms_norm(states, shape, norm.weight, norm.variance_epsilon)),
        "the module's own forward": _repeated(lambda: norm(states)),
    }


def _repeated(operation: Callable[[], Any]) -> Callable[[], None]:
    @torch.inference_mode()
    def repeat() -> None:
        for _ in range(_REPEATS):
            operation()

    return repeat
