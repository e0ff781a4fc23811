"""A loaded model with its tokenizer and token budget, for studies that run batches without a scheduler."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from qwen3_rerank_plugins.bench.cost import lengths_of
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.loading.engine import build_model
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that is ready to run batches; its output matrix is still there.

    Attributes:
        loaded: the weights and their placement.
        encoder: encoder of the checkpoint's tokenizer.
        budget: unique tokens per batch.
    """

    loaded: LoadedModel
    encoder: PromptEncoder
    budget: int

    def encode(self, requests: Iterable[RerankRequest]) -> list[TokenizedRequest]:
        """Tokenize requests."""
        return [self.encoder.encode(build_prompt(request), request.max_length) for request in requests]

    def plan(self, requests: Sequence[TokenizedRequest]) -> list[BatchPlan]:
        """Pack requests into batches under the budget."""
        return plan_batches([lengths_of(request) for request in requests], self.budget)

    def head(self) -> YesNoHead:
        """Return the head that computes log-odds from hidden states."""
        return YesNoHead(self.loaded.causal_lm, self.encoder.yes_id, self.encoder.no_id)

    def packed(
        self,
        kind: type[PackedModel] = PackedModel,
        *,
        attend: Attention | None = None,
        rows_at_once: int | str | None = "as placed",
    ) -> PackedModel:
        """Return a packed forward pass without fused kernels.

        Args:
            kind: the class to construct.
            attend: the attention kernel; None is the one of the placement.
            rows_at_once: tokens per layer call, None for all; by default as the placement says.
        """
        placement = self.loaded.placement
        rows = placement.rows_at_once if isinstance(rows_at_once, str) else rows_at_once
        return kind(self.loaded.causal_lm.model, attend or placement.attention.attend, rows_at_once=rows)

    def runner(self, model: PackedModel | None = None) -> ModelRunner:
        """Return a runner of batches, by default with the forward pass of the placement."""
        placement = self.loaded.placement
        return ModelRunner(
            model or build_model(self.loaded), self.head(), placement.device, varlen=placement.attention.gathers
        )


def open_model(settings: EngineSettings) -> OpenedModel:
    """Load a model and choose its budget."""
    checkpoint = find_checkpoint(settings)
    loaded = load_model(settings, checkpoint)
    budget = choose_budget(settings.max_batch_tokens, loaded)
    return OpenedModel(loaded, PromptEncoder(checkpoint.tokenizer_file), budget)
