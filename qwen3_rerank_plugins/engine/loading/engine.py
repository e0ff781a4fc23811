"""Load a model and build the engine that runs its batches: forward pass, yes/no head, memory check, token budget."""

from __future__ import annotations

import dataclasses
import functools

import torch

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, check_embedding_rows
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import complete_config
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import MemoryCheck, check_weights_fit, choose_budget
from qwen3_rerank_plugins.engine.loading.kernel_check import with_checked_kernels
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement, models_on_device
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.memory import allocated_memory, is_out_of_memory
from qwen3_rerank_plugins.engine.model.float32 import Float32Backbone
from qwen3_rerank_plugins.engine.model.fused_model import FusedModel
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import CPU_ROWS_AT_ONCE, PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine, RunBatch
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, RerankError, UnsupportedCheckpointError


def load_engine(
    all_replicas: EngineSettings, number: int, checkpoint: Checkpoint, encoder: PromptEncoder
) -> LoadedEngine:
    """Load the engine of one replica. Call it on the thread that will run its batches; see `load_model`.

    Args:
        all_replicas: the settings of all replicas together.
        number: index of the replica.
        checkpoint: the files to load.
        encoder: the checkpoint's tokenizer.

    Raises:
        ClosedError: this process was forked from one that had used CUDA.
        DeviceMemoryError: the weights do not fit in free memory.
        UnsupportedCheckpointError: the tokenizer has IDs without a row in the model.
        RerankError: as `load_model`.
    """
    settings = all_replicas.replicas[number]
    shape = Shape.from_config(complete_config(checkpoint.config))
    check_weights_fit(checkpoint.name, shape, choose_placement(settings, checkpoint))
    sharing = models_on_device(all_replicas, settings)
    try:
        loaded = load_model(settings, checkpoint, sharing=sharing)
    except Exception as error:
        if torch.cuda._is_in_bad_fork():
            raise ClosedError(
                "This process was forked from one that had used CUDA, so CUDA cannot be used here. Start processes "
                "with the 'spawn' method, or fork before anything uses CUDA."
            ) from error
        if isinstance(error, RerankError) or not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"The weights of {checkpoint.name!r} do not fit in the free memory of device {settings.device!r}: "
            f"{str(error).rstrip('.')}. Free memory, use a smaller model or quantization, or see what fits with "
            "`qwen3-rerank doctor`."
        ) from error
    _check_vocabulary(checkpoint, encoder, loaded)
    loaded = dataclasses.replace(loaded, placement=with_checked_kernels(loaded.placement, shape, loaded.devices))
    placement = loaded.placement
    head = YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id)
    loaded.release_output_matrix()
    run = ModelRunner(
        build_model(loaded, compile=settings.compile),
        head,
        placement.device,
        varlen=placement.attention.gathers,
        check_memory=MemoryCheck(BatchMemory.of(shape, placement), placement.device),
    )
    on_cuda = placement.device.type == "cuda"
    return LoadedEngine(
        run,
        choose_budget(settings.max_batch_tokens, loaded, sharing=sharing),
        max_merged_tokens=placement.rows_at_once,
        float32_fallback=_float32_runner(loaded, head, shape),
        pipeline=run if on_cuda else None,
        allocated=functools.partial(allocated_memory, loaded.devices) if on_cuda else None,
    )


def build_model(loaded: LoadedModel, *, compile: bool = False) -> PackedModel | FusedModel:
    """Return the packed forward pass over a loaded model, with the kernels of its placement."""
    placement, backbone = loaded.placement, loaded.causal_lm.model
    if placement.kernels.kernels is not None:
        return FusedModel(backbone, placement.attention.attend, placement.kernels.kernels)
    return PackedModel(backbone, placement.attention.attend, compile=compile, rows_at_once=placement.rows_at_once)


def _float32_runner(loaded: LoadedModel, head: YesNoHead, shape: Shape) -> RunBatch | None:
    """Build the same model in float32 for scores that overflow; None if it is float32 already, or quantized."""
    placement = loaded.placement
    if placement.dtype == torch.float32 or placement.quantization.name:
        return None
    # few rows at once, because the fallback must fit in the memory that is left; it need not be fast
    model = PackedModel(Float32Backbone(loaded.causal_lm.model), sdpa_attention, rows_at_once=CPU_ROWS_AT_ONCE)
    batch_memory = BatchMemory(shape, torch.float32, placement.device.type, CPU_ROWS_AT_ONCE)
    check = MemoryCheck(batch_memory, placement.device)
    return ModelRunner(model, head, placement.device, check_memory=check)


def _check_vocabulary(checkpoint: Checkpoint, encoder: PromptEncoder, loaded: LoadedModel) -> None:
    """Refuse token IDs without a row: on a GPU they would end the use of the device for the whole process."""
    check_embedding_rows(checkpoint.name, encoder.rows, loaded.causal_lm.get_input_embeddings().num_embeddings)
    output = loaded.causal_lm.get_output_embeddings()
    if output is None:  # a classifier
        return
    rows, highest = len(output.weight), max(encoder.yes_id, encoder.no_id)
    if highest >= rows:
        raise UnsupportedCheckpointError(
            f"The yes and no tokens of {checkpoint.name!r} have ids up to {highest}, and its output matrix has rows up "
            f"to {rows - 1}. Take tokenizer and weights from the same checkpoint."
        )
