"""Models without numbers: real shapes on the meta device, where a whole 8B pass takes a second and no memory."""

from __future__ import annotations

from typing import Any

import torch

from qwen3_rerank_plugins.engine.kernels.triton_kernels import TritonKernels
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.attention import adapt_varlen
from qwen3_rerank_plugins.engine.model.batch import PackedBatch, build_batch
from qwen3_rerank_plugins.engine.model.fused_model import FusedModel
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.varlen import VarlenCall, varlen_calls
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.live_memory import LiveMemory

META = torch.device("meta")


def backbone(shape: Shape, layers: int, dtype: torch.dtype = torch.bfloat16, device: torch.device = META) -> Any:
    """A Qwen3Model of these sizes, with so many layers."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        hidden_size=shape.hidden,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        attn_implementation="eager",
        name_or_path="meta",
    )
    with device:
        return Qwen3Model(config).to(dtype).eval().requires_grad_(False)


def batch_of(*requests: tuple[int, list[int]]) -> PackedBatch:
    """One batch of requests, given by the lengths of their prefix and documents, as a GPU is handed it."""
    tokenized = []
    for prefix, lengths in requests:
        ids = tuple((1,) * length for length in lengths)
        tokenized.append(TokenizedRequest((1,) * prefix, ids, tuple(range(len(ids))), (0,) * len(ids)))
    (plan,) = plan_batches([Workload.of(request) for request in tokenized], 10**9)
    batch = build_batch(tokenized, plan)
    batch.layout.derive(varlen_calls)
    batch.last_layout.derive(varlen_calls)
    return batch


def calls_of(batch: PackedBatch) -> tuple[VarlenCall, ...]:
    """The calls of flash attention for a batch."""
    return batch.layout.derive(varlen_calls)


def run(model: Any, batch: PackedBatch, *, fused: bool = True) -> LiveMemory:
    """Run a batch through the kernels that a GPU would use, and return what was counted."""
    from torch.nn.attention.varlen import varlen_attn

    kernels = TritonKernels()
    run = (
        FusedModel(model, adapt_varlen(varlen_attn, kernels.gather), kernels)
        if fused
        else PackedModel(model, adapt_varlen(varlen_attn))
    )
    live = LiveMemory("meta")
    live.ignore(*model.parameters(), *model.buffers())
    with torch.inference_mode(), live:
        run(batch.to(META))
    return live
