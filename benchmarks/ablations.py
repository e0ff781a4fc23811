"""The study of exact savings: each one switched off in turn, the answers compared, the time it saves measured.

Comes in: a subject, a loaded model. Goes out: `SavingsResults`.
Must not know: peers, tables. Each slow twin computes the same scores the long way; tests hold the two together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Spread, ratios, take_turns
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.model.batch import PackedBatch, build_batch
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Saving:
    """One saving on one workload.

    Attributes:
        seconds_without: of the slow twin.
        ratio: how many times as long the slow twin takes.
        largest_difference: of log-odds between the two.
    """

    name: str
    workload: str
    seconds: Spread
    seconds_without: Spread
    ratio: Spread
    largest_difference: float


@dataclasses.dataclass(frozen=True, slots=True)
class SavingsResults:
    """All savings, and the bytes of the output matrix that is released once its two rows are taken."""

    rounds: int
    savings: tuple[Saving, ...]
    released_bytes: int


Scoring = Callable[[Sequence[TokenizedRequest]], list[float]]


class Twins:
    """The line from tokens to log-odds, with one saving left out at a time.

    Args:
        loaded: the model, its output matrix still there.
        encoder: of its tokenizer.
        budget: unique tokens in a pass.
    """

    def __init__(self, loaded: LoadedModel, encoder: PromptEncoder, budget: int) -> None:
        self._causal_lm: Any = loaded.causal_lm
        self._device = loaded.placement.device
        parts = self._causal_lm.model, loaded.placement.attention.attend
        rows = loaded.placement.rows_at_once
        self._model = PackedModel(*parts, rows_at_once=rows)
        self._every_hidden_state = _EveryHiddenState(*parts, rows_at_once=rows)
        self._head = YesNoHead(self._causal_lm, encoder.yes_id, encoder.no_id)
        self._answers = [encoder.yes_id, encoder.no_id]
        self._budget = budget

    def with_all_savings(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """As the engine does it."""
        return self._run(requests, lambda batch: self._head(self._model(batch)))

    def without_shared_prefix(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Every document behind a prefix of its own."""
        return self.with_all_savings(
            [
                TokenizedRequest(request.prefix, (request.document_ids[document],), (0,), (0,))
                for request in requests
                for document in request.inverse_index
            ]
        )

    def without_short_last_layer(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """The last layer for all tokens, like every other layer."""
        return self._run(requests, lambda batch: self._head(self._every_hidden_state(batch)[batch.last_token_indices]))

    def without_two_row_head(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """All logits at every position, as the model card's script has them computed."""

        def score(batch: PackedBatch) -> torch.Tensor:
            hidden = self._every_hidden_state(batch)
            logits = self._causal_lm.lm_head(hidden.to(self._causal_lm.lm_head.weight.dtype))
            answers = logits[batch.last_token_indices][:, self._answers].float()
            yes, no = answers.unbind(-1)
            difference: torch.Tensor = yes - no
            return difference

        return self._run(requests, score)

    def without_shared_tails(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Identical documents computed each for itself."""
        spelled_out = [
            dataclasses.replace(
                request,
                document_ids=tuple(request.document_ids[document] for document in request.inverse_index),
                inverse_index=tuple(range(len(request.inverse_index))),
            )
            for request in requests
        ]
        return self._run(spelled_out, lambda batch: self._head(self._model(batch)))

    @torch.inference_mode()
    def _run(self, requests: Sequence[TokenizedRequest], score: Callable[[PackedBatch], torch.Tensor]) -> list[float]:
        """Log-odds of all documents, request after request."""
        plans = plan_batches([Workload(len(r.prefix), tuple(map(len, r.document_ids))) for r in requests], self._budget)
        by_tail: dict[tuple[int, int], float] = {}
        for plan in plans:
            places = [(part.request, document) for part in plan.slices for document in part.documents]
            by_tail.update(zip(places, score(build_batch(requests, plan, self._device)).tolist(), strict=True))
        return [
            by_tail[position, document]
            for position, request in enumerate(requests)
            for document in request.inverse_index
        ]


class _EveryHiddenState(PackedModel):
    """The slow twin of the short last layer: returns the normalised hidden states of all tokens, [T, hidden]."""

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        stream = self._embed(batch)
        for layer in self._backbone.layers:
            stream = self._run_layer(layer, stream)
        everything: torch.Tensor = self._backbone.norm(stream.hidden)
        return everything


def measure_savings(
    workloads: Sequence[BenchWorkload],
    loaded: LoadedModel,
    encoder: PromptEncoder,
    budget: int,
    rounds: int,
    tell: OnStep,
) -> SavingsResults:
    """Every saving on every workload, in turns with the engine's own way.

    Args:
        workloads: what to score.
        loaded: the model, unquantised, its output matrix still there.
        encoder: of its tokenizer.
        budget: unique tokens in a pass.
        rounds: turns.
        tell: called before every step.
    """
    twins = Twins(loaded, encoder, budget)
    device = loaded.placement.device
    found = []
    for workload in workloads:
        requests = [encoder.encode(build_prompt(request), request.max_length) for request in workload.requests]
        twice = [_with_every_document_twice(request) for request in requests]
        pairs: list[tuple[str, Scoring, Sequence[TokenizedRequest]]] = [
            ("shared prefix", twins.without_shared_prefix, requests),
            ("two rows of the output matrix, last token only", twins.without_two_row_head, requests),
            ("last layer for the last tokens only", twins.without_short_last_layer, requests),
            ("identical documents once (every document twice)", twins.without_shared_tails, twice),
        ]
        for name, slow, asked in pairs:
            calls = {"with": _of(twins.with_all_savings, asked), "without": _of(slow, asked)}
            turns = take_turns(
                calls,
                rounds,
                device,
                lambda kind, turn, name=name: tell(f"{name}: {kind}, round {turn + 1}"),  # type: ignore[misc]
            )
            fast, long_way = turns["with"], turns["without"]
            found.append(
                Saving(
                    name=name,
                    workload=workload.name,
                    seconds=Spread.of([run.seconds for run in fast]),
                    seconds_without=Spread.of([run.seconds for run in long_way]),
                    ratio=ratios(fast, long_way),
                    largest_difference=max(abs(a - b) for a, b in zip(fast[0].answer, long_way[0].answer, strict=True)),
                )
            )
    return SavingsResults(rounds, tuple(found), _output_matrix_bytes(loaded))


def _of(scoring: Scoring, requests: Sequence[TokenizedRequest]) -> Callable[[], list[float]]:
    return lambda: scoring(requests)


def _with_every_document_twice(request: TokenizedRequest) -> TokenizedRequest:
    return dataclasses.replace(
        request,
        inverse_index=tuple(itertools.chain(request.inverse_index, request.inverse_index)),
        truncated_tokens=request.truncated_tokens * 2,
    )


def _output_matrix_bytes(loaded: LoadedModel) -> int:
    if loaded.causal_lm.config.tie_word_embeddings:
        return 0
    weight: torch.Tensor = loaded.causal_lm.get_output_embeddings().weight
    return weight.nbytes
