"""A loaded Qwen3-Embedding model.

Sentence-transformers adds prompts and end tokens, pads, and pools. This module checks its input and output, and
normalizes the vectors in 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.embedding.checkpoint import find_embedding_checkpoint
from qwen3_rerank_plugins.embedding.loading import load_transformer
from qwen3_rerank_plugins.embedding.request import EmbeddingRequest
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.nonfinite_weights import describe_damage
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import MemoryCheck
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.errors import (
    DeviceMemoryError,
    NonFiniteScoreError,
    NoRoomError,
    PassError,
    RequestError,
)

Vectors = list[list[float]]
NFC_GROWTH = 3
"""NFC, which the tokenizer applies first, turns one byte of UTF-8 into at most this many."""


class LoadedEmbedder:
    """One model in memory. Not thread-safe, because the maximum length of a call is set on the model.

    Args:
        settings: which model to load, and where.

    Raises:
        CheckpointError: the checkpoint cannot be found, is not a Qwen3-Embedding, is incomplete, or has no row for a
            token ID of its tokenizer.
        SettingsError: this machine does not have the device or the dtype.
        DeviceMemoryError: the weights do not fit into memory.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        checkpoint = find_embedding_checkpoint(settings)
        self._name, self._dimension = checkpoint.name, int(checkpoint.config["hidden_size"])
        self._weight_files = checkpoint.weight_files
        self._transformer = load_transformer(settings, checkpoint)
        weights = next(self._transformer.parameters())
        self._check_memory = MemoryCheck(
            BatchMemory(Shape.from_config(checkpoint.config), weights.dtype),
            weights.device,
            included="padding",
            lower="the batch size or max_length",
        )
        self._longest = int(self._transformer.max_seq_length)

    def embed(self, request: EmbeddingRequest) -> Vectors:
        """Return one unit vector per text, in order.

        Raises:
            RequestError: max_length or truncate_dim is more than the model has, or the prompt takes all of max_length.
            ScoringError: the model gave no usable vector.
            DeviceMemoryError: a batch does not fit into memory.
        """
        options = request.options
        _check_limit("truncate_dim", options.truncate_dim, self._dimension, f"dimensions of {self._name!r}")
        _check_limit("max_length", options.max_length, self._longest, f"tokens that {self._name!r} reads")
        limit = options.max_length or self._longest
        cuts = self._count_cuts(request, limit)
        self._check_largest_batch(request, limit)
        self._transformer.max_seq_length = limit
        try:
            vectors = _unit_vectors(self._encode(request), options.truncate_dim)
        except NonFiniteScoreError as error:
            damage = describe_damage(self._weight_files)
            if not damage:
                raise
            raise NonFiniteScoreError(damage, error.documents) from error
        if cuts:
            logger.warning(
                "%s cut to fit in max_length=%d: %s not read, up to %s of one text. Raise max_length, or split the "
                "texts.",
                *(share(len(cuts), len(request.texts), "text", "was"), limit),
                *(counted(sum(cuts), "token", "was"), f"{max(cuts):,}"),
            )
        return vectors

    def _encode(self, request: EmbeddingRequest) -> npt.ArrayLike:
        """Return the vectors, [texts, dimension of the model], in the model's dtype."""
        try:
            encoded: npt.ArrayLike = self._transformer.encode(
                list(request.texts),
                prompt=request.prompt,  # an empty prompt overrides the default prompt of a fine-tune
                batch_size=request.options.batch_size,
                show_progress_bar=request.options.show_progress,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise PassError(
                    f"sentence-transformers failed: {type(error).__name__}: {error}. Report this error with the "
                    "attached cause."
                ) from error
            message = (str(error).splitlines() or ["no details"])[0]
        else:
            return encoded
        # outside the handler, because its traceback keeps the batch's tensors alive
        if self._transformer.device.type == "cuda":
            torch.cuda.empty_cache()
        raise DeviceMemoryError(
            f"A batch of {counted(min(len(request.texts), request.options.batch_size), 'text')} ran out of device "
            f"memory: {message.rstrip('.')}. Lower the batch size or max_length, or free memory on the device."
        )

    def _check_largest_batch(self, request: EmbeddingRequest, limit: int) -> None:
        """Refuse a batch that a CPU has no memory for. Texts are padded to the longest of their batch."""
        texts = [request.prompt + text for text in request.texts]
        count = min(len(texts), request.options.batch_size)
        try:  # the number of bytes bounds the number of tokens, so most calls need no counting
            self._check_memory(count * min(limit, max((len(text.encode()) * NFC_GROWTH for text in texts), default=0)))
        except DeviceMemoryError:
            self._check_memory(count * min(limit, max(self._lengths(texts))))

    def _count_cuts(self, request: EmbeddingRequest, limit: int) -> list[int]:
        """Return how many tokens each text that is too long loses. A text with few bytes is not tokenized for this."""
        prompted = [request.prompt + text for text in request.texts]
        long = [text for text in prompted if len(text.encode()) * NFC_GROWTH >= limit]  # a token has at least one byte
        cuts = [length - limit for length in self._lengths(long) if length > limit]
        if cuts and self._lengths([request.prompt])[0] >= limit:
            raise NoRoomError(
                f"The instruction takes {self._lengths([request.prompt])[0]} tokens with the end token, and max_length "
                f"is {limit}: no token of a query would fit. Shorten the instruction, or raise max_length."
            )
        return cuts

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text with its end token, before cutting."""
        if not texts:
            return []
        ids = self._transformer.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(one) for one in ids]


def _check_limit(name: str, asked: int | None, most: int, what: str) -> None:
    if asked is not None and asked > most:
        raise RequestError(f"{name}={asked} is more than the {most} {what}. Use {name}={most} or less, or None.")


def _unit_vectors(vectors: npt.ArrayLike, dimension: int | None) -> Vectors:
    """Cut [texts, dimension of the model] of any dtype to [texts, dimension], and normalize the vectors in float64."""
    kept = np.asarray(vectors, dtype=np.float64)[:, :dimension]
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    broken = np.flatnonzero(~np.isfinite(unit).all(axis=1)).tolist()
    if broken:
        raise NonFiniteScoreError(
            f"The model gave no finite vector for {len(broken)} of {len(kept)} texts (positions "
            f"{', '.join(map(str, broken[:10]))}). Load it with dtype='bfloat16' or 'float32'.",
            broken,
        )
    found: Vectors = unit.tolist()
    return found
