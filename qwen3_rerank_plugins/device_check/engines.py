"""Random checkpoints, engines loaded from them, and their log-odds; the same by the stock forward pass."""

from __future__ import annotations

import contextlib
import gc
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from qwen3_rerank_plugins.bench.document_order import log_odds_by_document
from qwen3_rerank_plugins.bench.subject import write_random_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading.engine import load_engine
from qwen3_rerank_plugins.engine.loading.loader import dtype_word
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest

STORED = torch.bfloat16
"""Dtype of the weights on disk, as published."""
_LOGGER = logging.getLogger("qwen3_rerank_plugins")


class OpenedEngine:
    """A loaded engine, as a context manager that frees its memory.

    Args:
        settings: which model to load and how.

    Attributes:
        engine: what the scheduler would run; deleted when the block ends.
        device: where it runs, with its index.
        note: what the package logged as warnings while it loaded, such as a kernel that fell back.

    Raises:
        RerankError: as `load_engine`.
    """

    def __init__(self, settings: EngineSettings) -> None:
        checkpoint = find_checkpoint(settings)
        self.device = choose_placement(settings).device
        with _collected_warnings() as warnings:
            self.engine: LoadedEngine = load_engine(settings, 0, checkpoint, PromptEncoder(checkpoint.tokenizer_file))
        self.note = "; ".join(warnings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self.engine
        free_cached_memory()

    def score(self, requests: Sequence[TokenizedRequest]) -> torch.Tensor:
        """Return the log-odds of all documents in the order of the requests, [documents]."""
        plans = plan_batches([*map(Workload.of, requests)], self.engine.budget)
        return torch.tensor(log_odds_by_document(self.engine.run, requests, plans))


@contextlib.contextmanager
def random_checkpoint(shape: Shape) -> Iterator[Path]:
    """Yield the folder of a checkpoint of this shape with random weights; it is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="qwen3-rerank-check-") as folder:
        with quiet_libraries():
            write_random_checkpoint(Path(folder), shape, STORED, DEMO_FOLDER)
        free_cached_memory()
        yield Path(folder)


@torch.inference_mode()
def stock_scores(
    folder: Path, device: torch.device, dtype: torch.dtype, requests: Sequence[TokenizedRequest]
) -> torch.Tensor:
    """Score every prompt alone with the forward pass of transformers, as the model card does; [documents]."""
    from transformers import AutoModelForCausalLM

    encoder = PromptEncoder(folder / "tokenizer.json")
    options: dict[str, Any] = {dtype_word(): dtype, "device_map": {"": device}}
    with quiet_libraries():
        causal_lm: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    found = []
    for request in requests:
        for document in request.inverse_index:
            ids = torch.tensor([[*request.prefix, *request.document_ids[document]]], device=device)
            logits = causal_lm(ids, logits_to_keep=1).logits[0, -1, [encoder.yes_id, encoder.no_id]]
            yes, no = logits.float().tolist()
            found.append(yes - no)
    del causal_lm
    free_cached_memory()
    return torch.tensor(found)


def difference_limit(dtype: torch.dtype, log_odds: torch.Tensor) -> float:
    """Return the bound of a difference where no float32 result sets one: in 16 bits a twentieth of the range."""
    return 1e-3 if dtype == torch.float32 else 0.05 * float(log_odds.max() - log_odds.min())


def free_cached_memory() -> None:
    """Free what deleted models held, so that the next one finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Collector(logging.WARNING)
    _LOGGER.addHandler(handler)
    try:
        yield messages
    finally:
        _LOGGER.removeHandler(handler)
