"""Loads a Qwen3-Embedding checkpoint through sentence-transformers, and checks that it is complete."""

from __future__ import annotations

from typing import Any

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins._printable import logger, one_line, shown
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, check_embedding_rows
from qwen3_rerank_plugins.engine.concurrency.lifetime import loading_alone
from qwen3_rerank_plugins.engine.loading.budget import check_weights_fit
from qwen3_rerank_plugins.engine.loading.cpu_threads import threads_for, use_threads
from qwen3_rerank_plugins.engine.loading.loader import dtype_word
from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name, use_device
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.engine.text.tokenizer_file import library_errors
from qwen3_rerank_plugins.errors import (
    DeviceMemoryError,
    IncompleteCheckpointError,
    RerankError,
    UnsupportedCheckpointError,
)

END_TOKEN = "<|endoftext|>"


def load_transformer(settings: EmbeddingSettings, checkpoint: Checkpoint) -> Any:
    """Load a SentenceTransformer on its device, in its dtype, and refuse one that is incomplete.

    The calling thread gets the device and the number of threads of the model.
    """
    with loading_alone():
        from sentence_transformers import SentenceTransformer

    placement = choose_placement(settings.engine, checkpoint)
    use_device(placement.device)
    check_weights_fit(checkpoint.name, Shape.from_config(checkpoint.config), placement)
    threads = threads_for(settings.threads, checkpoint.config)
    use_threads(threads.count)
    try:
        with loading_alone(), quiet_libraries(), library_errors(checkpoint.tokenizer_file, panics_only=True):
            transformer: Any = SentenceTransformer(
                str(checkpoint.folder),
                device=str(placement.device),
                local_files_only=True,
                trust_remote_code=settings.trust_remote_code,
                model_kwargs={dtype_word(): placement.dtype, "use_safetensors": True},
            )
    except Exception as error:
        if isinstance(error, RerankError):
            raise
        if is_out_of_memory(error):
            raise DeviceMemoryError(
                f"The weights of {checkpoint.name!r} do not fit into the free memory: {str(error).rstrip('.')}. Free "
                "memory, or use a smaller model."
            ) from error
        raise UnsupportedCheckpointError(
            f"sentence-transformers cannot load {shown(checkpoint.name)}: {type(error).__name__}: {one_line(error)}. "
            "Download or export it again."
        ) from error
    _check_complete(checkpoint, transformer)
    highest = max(transformer.tokenizer.get_vocab().values())
    check_embedding_rows(checkpoint.name, highest + 1, transformer[0].auto_model.get_input_embeddings().num_embeddings)
    _check_end_token(transformer.tokenizer, checkpoint.name)
    logger.info(
        "loaded %s (commit %s) on %s (%s), %s (%s), %d thread(s) (%s)",
        checkpoint.name,
        checkpoint.commit or "none, a local folder",
        placement.device,
        placement.device_reason,
        dtype_name(placement.dtype),
        placement.dtype_reason,
        threads.count,
        threads.reason,
    )
    return transformer


def _check_complete(checkpoint: Checkpoint, transformer: Any) -> None:
    """Refuse missing parameters, which transformers would only log and fill with random values."""
    from safetensors import safe_open

    in_files: set[str] = set()
    for file in checkpoint.weight_files:
        with safe_open(file, framework="numpy") as opened:
            in_files |= {name.removeprefix("model.") for name in opened.keys()}  # noqa: SIM118  not a dict
    in_model = set(transformer[0].auto_model.state_dict())
    missing, unused = in_model - in_files, in_files - in_model - {"lm_head.weight"}
    for names, what in ((missing, "missing from"), (unused, "left over in")):
        if names:
            raise IncompleteCheckpointError(
                f"{counted(len(names), 'parameter', 'is')} {what} the files of {checkpoint.name!r}, such as "
                f"{min(names)}. Download or export the checkpoint again; merge adapters first."
            )


def _check_end_token(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that does not append the end token, as in early exports; its hidden state is the vector."""
    ids = list(tokenizer("")["input_ids"])
    if ids != [tokenizer.convert_tokens_to_ids(END_TOKEN)]:
        raise UnsupportedCheckpointError(
            f"The tokenizer of {name!r} turns an empty text into {ids}, not into the end token {END_TOKEN} alone, "
            "which every Qwen3-Embedding appends and pools. Download the checkpoint again, or use the tokenizer of its "
            "base model."
        )
