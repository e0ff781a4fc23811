"""The study of exact savings: switch each one off in turn, compare the scores, and measure the time that it saves."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch

from qwen3_rerank_plugins.bench.document_order import log_odds_by_document
from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Spread, largest_difference, ratios, take_turns
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.engine.model.batch import PackedBatch, build_batch
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Saving:
    """One saving on one workload.

    Attributes:
        name: the saving.
        workload: the workload.
        seconds: time with the saving.
        seconds_without: time without it.
        ratio: seconds_without / seconds, turn by turn.
        largest_difference: largest difference between the log-odds with and without it.
    """

    name: str
    workload: str
    seconds: Spread
    seconds_without: Spread
    ratio: Spread
    largest_difference: float


@dataclasses.dataclass(frozen=True, slots=True)
class SavingsResults:
    """All savings. `released_bytes` is the size of the output matrix, which is released once its two rows are taken."""

    rounds: int
    savings: tuple[Saving, ...]
    released_bytes: int


class Ablations:
    """Scores of tokenized requests, with all savings and with one of them switched off.

    Every method returns the log-odds of all documents, request by request. All of them compute the same scores.

    Args:
        model: the model, with its output matrix.
    """

    def __init__(self, model: OpenedModel) -> None:
        self._opened = model
        self._model = model.packed()
        self._every_hidden_state = model.packed(_EveryHiddenState)
        self._head = model.head()

    def with_all_savings(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Score as the engine does."""
        return self._run(requests, lambda batch: self._head(self._model(batch)))

    def without_shared_prefix(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Compute the prefix once per document."""
        return self.with_all_savings(
            [
                TokenizedRequest(request.prefix, (request.document_ids[unique],), (0,), (0,))
                for request in requests
                for unique in request.inverse_index
            ]
        )

    def without_short_last_layer(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Compute the last layer for all tokens, like every other layer."""
        return self._run(requests, lambda batch: self._head(self._every_hidden_state(batch)[batch.last_token_indices]))

    def without_two_row_head(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Compute all logits at every position, as the model card's script does."""
        lm_head = self._opened.loaded.causal_lm.lm_head
        answers = [self._opened.encoder.yes_id, self._opened.encoder.no_id]

        def score(batch: PackedBatch) -> torch.Tensor:
            logits = lm_head(self._every_hidden_state(batch).to(lm_head.weight.dtype))
            yes, no = logits[batch.last_token_indices][:, answers].float().unbind(-1)
            difference: torch.Tensor = yes - no
            return difference

        return self._run(requests, score)

    def without_shared_documents(self, requests: Sequence[TokenizedRequest]) -> list[float]:
        """Compute each of several identical documents."""
        return self.with_all_savings(
            [
                dataclasses.replace(
                    request,
                    document_ids=tuple(request.document_ids[unique] for unique in request.inverse_index),
                    inverse_index=tuple(range(len(request.inverse_index))),
                )
                for request in requests
            ]
        )

    @torch.inference_mode()
    def _run(self, requests: Sequence[TokenizedRequest], score: Callable[[PackedBatch], torch.Tensor]) -> list[float]:
        device = self._opened.loaded.placement.device

        def run(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
            found: list[float] = score(build_batch(requests, plan).to(device)).tolist()
            return found

        return log_odds_by_document(run, requests, self._opened.plan(requests))


class _EveryHiddenState(PackedModel):
    """The packed model without the short last layer; returns normalized hidden states of all tokens, [T, hidden]."""

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        state = self._embed(batch)
        for layer in self._backbone.layers:
            state = self._run_layer(layer, state)
        hidden: torch.Tensor = self._backbone.norm(state.hidden)
        return hidden


def measure_savings(
    workloads: Sequence[BenchWorkload], model: OpenedModel, rounds: int, tell: OnStep
) -> SavingsResults:
    """Measure every saving on every workload, in turns with the engine's computation.

    Args:
        workloads: what to score.
        model: the unquantized model, with its output matrix.
        rounds: number of rounds.
        tell: called before every step.
    """
    ablations = Ablations(model)
    savings = []
    for workload in workloads:
        requests = model.encode(workload.requests)
        twice = [_with_every_document_twice(request) for request in requests]
        for name, ablation, scored in (
            ("shared prefix", ablations.without_shared_prefix, requests),
            ("two rows of the output matrix, last token only", ablations.without_two_row_head, requests),
            ("last layer for the last tokens only", ablations.without_short_last_layer, requests),
            ("identical documents once (every document twice)", ablations.without_shared_documents, twice),
        ):
            turns = take_turns(
                {
                    "with": functools.partial(ablations.with_all_savings, scored),
                    "without": functools.partial(ablation, scored),
                },
                rounds,
                model.loaded.placement.device,
                lambda kind, turn, name=name: tell(f"{name}: {kind}, round {turn + 1}"),  # type: ignore[misc]
            )
            fast, slow = turns["with"], turns["without"]
            savings.append(
                Saving(
                    name=name,
                    workload=workload.name,
                    seconds=Spread.of([run.seconds for run in fast]),
                    seconds_without=Spread.of([run.seconds for run in slow]),
                    ratio=ratios(fast, slow),
                    largest_difference=largest_difference(fast[0], slow[0]),
                )
            )
    causal_lm = model.loaded.causal_lm
    tied = causal_lm.config.tie_word_embeddings
    return SavingsResults(rounds, tuple(savings), 0 if tied else causal_lm.get_output_embeddings().weight.nbytes)


def _with_every_document_twice(request: TokenizedRequest) -> TokenizedRequest:
    return dataclasses.replace(
        request, inverse_index=request.inverse_index * 2, truncated_tokens=request.truncated_tokens * 2
    )
