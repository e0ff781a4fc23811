"""The study of choices: what the engine does, beside what it could do instead, in turns.

Comes in: requests, a loaded model. Goes out: `ChoicesResults`.
Must not know: peers, tables. A choice is right for the machine that measured it; run this where it matters to you.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Measured, Spread, ratios, take_turns
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.layer import rms_norm
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest

_ROWS = (256, 512, 1024, 2048, 4096, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Alternative:
    """One way to do it.

    Attributes:
        chosen: whether it is what the engine does.
        ratio: how many times as long as the engine's own way it takes.
        peak_growth: bytes above what was allocated before, at most; None where unknown.
    """

    question: str
    name: str
    chosen: bool
    seconds: Spread
    ratio: Spread
    peak_growth: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class ChoicesResults:
    """All alternatives, question by question."""

    rounds: int
    alternatives: tuple[Alternative, ...]


def measure_choices(
    requests: Sequence[TokenizedRequest],
    loaded: LoadedModel,
    other_dtype: LoadedModel,
    encoder: PromptEncoder,
    budget: int,
    rounds: int,
    tell: OnStep,
) -> ChoicesResults:
    """Every alternative of every question, in turns.

    Args:
        requests: what to score.
        loaded: the model in the dtype of the engine's choice.
        other_dtype: the same model in the other dtype.
        encoder: of its tokenizer.
        budget: unique tokens in a pass.
        rounds: turns.
        tell: called before every step.
    """
    device = loaded.placement.device
    own = loaded.placement.rows_at_once

    def scoring(
        model: LoadedModel,
        rows: int | None,
        attend: Attention | None = None,
        kind: type[PackedModel] = PackedModel,
    ) -> Callable[[], Any]:
        attend = attend or model.placement.attention.attend
        packed = kind(model.causal_lm.model, attend, rows_at_once=rows)
        head = YesNoHead(model.causal_lm, encoder.yes_id, encoder.no_id)
        run = ModelRunner(packed, head, device)
        plans = plan_batches([Workload(len(r.prefix), tuple(map(len, r.document_ids))) for r in requests], budget)
        return lambda: [run(requests, plan) for plan in plans]

    dtypes = {str(model.placement.dtype).removeprefix("torch."): model for model in (loaded, other_dtype)}
    questions: dict[str, tuple[str, Mapping[str, Callable[[], Any]]]] = {
        "tokens that go through a layer at a time": (
            _rows_name(own),
            {_rows_name(rows): scoring(loaded, rows) for rows in _ROWS},
        ),
        "dtype": (
            str(loaded.placement.dtype).removeprefix("torch."),
            {name: scoring(model, own) for name, model in dtypes.items()},
        ),
        "attention": (
            loaded.placement.attention.name,
            {
                loaded.placement.attention.name: scoring(loaded, own),
                "sdpa, one mask over each document": scoring(loaded, own, masked_attention),
            },
        ),
        "norm of the heads": ("ours", _head_norm(loaded, own or 4096)),
        "gate and up projection of the MLP": ("two products", _gate_and_up(loaded, own or 4096)),
    }
    if own:
        ways = {"kept for a pass": scoring(loaded, own), "each its own": scoring(loaded, own, kind=ForgetfulModel)}
        questions["memory of the MLP's two wide tensors"] = ("kept for a pass", ways)
    found = []
    for question, (chosen, calls) in questions.items():
        for call in calls.values():
            call()
        turns = take_turns(calls, rounds, device, lambda name, turn: tell(f"{name}, round {turn + 1}"))
        found += [_alternative(question, name, chosen, turns) for name in calls]
    return ChoicesResults(rounds, tuple(found))


class ForgetfulModel(PackedModel):
    """Every call of a layer's MLP gets memory of its own."""

    def _allocate_mlp_buffer(self, *_: Any) -> None:
        return None


def masked_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """Attention the plain way: all query rows of a segment at once, under a mask, heads repeated by torch."""
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


def _gate_and_up(loaded: LoadedModel, rows: int) -> dict[str, Callable[[], Any]]:
    mlp = loaded.causal_lm.model.layers[0].mlp
    hidden = torch.randn(rows, mlp.gate_proj.in_features).to(mlp.gate_proj.weight)
    fused = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])

    def two() -> None:
        for _ in range(20):
            functional.silu(mlp.gate_proj(hidden)).mul_(mlp.up_proj(hidden))

    def one() -> None:
        for _ in range(20):
            gate, up = functional.linear(hidden, fused).chunk(2, dim=-1)
            functional.silu(gate).mul_(up)

    return {"two products": torch.inference_mode()(two), "one product of both": torch.inference_mode()(one)}


def _head_norm(loaded: LoadedModel, rows: int) -> dict[str, Callable[[], Any]]:
    attention = loaded.causal_lm.model.layers[0].self_attn
    norm, heads = attention.q_norm, attention.q_proj.out_features // attention.head_dim
    states = torch.randn(rows, heads, attention.head_dim).to(norm.weight)

    def ours() -> None:
        for _ in range(20):
            rms_norm(norm, states)

    def torchs() -> None:
        for _ in range(20):
            functional.rms_norm(states, states.shape[-1:], norm.weight, norm.variance_epsilon)

    def modules() -> None:
        for _ in range(20):
            norm(states)

    ways = {"ours": ours, "torch's rms_norm": torchs, "the module's own forward": modules}
    return {name: torch.inference_mode()(way) for name, way in ways.items()}


def _alternative(question: str, name: str, chosen: str, turns: dict[str, list[Measured]]) -> Alternative:
    growths = [run.peak_growth for run in turns[name] if run.peak_growth is not None]
    return Alternative(
        question=question,
        name=name,
        chosen=name == chosen,
        seconds=Spread.of([run.seconds for run in turns[name]]),
        ratio=ratios(turns[chosen], turns[name]),
        peak_growth=max(growths) if growths else None,
    )
