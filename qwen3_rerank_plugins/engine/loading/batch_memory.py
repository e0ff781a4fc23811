"""Predict the memory of a batch besides the weights, from the sizes of the model and of the batch."""

from __future__ import annotations

import dataclasses
import math

import torch

from qwen3_rerank_plugins.engine.loading.placement import Placement
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model.varlen import KEYS_PER_TOKEN, Gathering

_ID_AND_POSITION = 8
"""Bytes of a token's ID and its position, int32 each."""
_SHARE_OF_QUERIES = 0.8
"""Largest share of a batch that one document has if attention copies all keys and values at once; see `sdpa`."""
_LENGTHS = 2**16
"""Bytes that are enough for the lengths and last tokens of thousands of documents."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchMemory:
    """How the batches of a model use memory.

    Attributes:
        shape: the sizes of the model.
        dtype: the dtype of the batches.
        device_type: "cpu", "cuda" or another type of torch devices.
        rows_at_once: tokens that go through a layer at once; None for all. See `Placement.rows_at_once`.
        fused: whether the fused kernels run, which keep fewer intermediate results.
    """

    shape: Shape
    dtype: torch.dtype
    device_type: str = "cpu"
    rows_at_once: int | None = None
    fused: bool = False

    @classmethod
    def of(cls, shape: Shape, placement: Placement) -> BatchMemory:
        """Return the memory use of a model where it is placed."""
        fused = placement.kernels.kernels is not None
        return cls(shape, placement.dtype, placement.device.type, placement.rows_at_once, fused)

    def bytes(self, tokens: int, gathering: Gathering | None = None) -> int:
        """Return the peak memory of a batch in bytes.

        The residual stream (float32) and the rotation exist all the time. On top of them comes the larger of two
        stages. Attention has queries, keys and values, the keys and values that flash attention gathers, and the
        result. The MLP has two wide activations, and one hidden vector, the output of the norm or of the MLP.

        Args:
            tokens: unique tokens of the batch.
            gathering: what flash attention gathers; None is the most that it may gather for so many tokens.
        """
        if self.device_type == "cpu":
            return self._bytes_on_cpu(tokens)
        gathering = gathering or Gathering(KEYS_PER_TOKEN * tokens, KEYS_PER_TOKEN * tokens, 0)
        kept = tokens * (self._kept + _ID_AND_POSITION) + gathering.index_bytes + _LENGTHS
        return kept + max(self._attention(tokens, gathering), tokens * self._mlp)

    @property
    def _kept(self) -> int:
        """Bytes of a token's residual stream and rotation."""
        return 4 * self.shape.hidden + 2 * self._head

    @property
    def _head(self) -> int:
        return self.shape.head_dim * self.dtype.itemsize

    def _attention(self, tokens: int, gathering: Gathering) -> int:
        queries, keys_values = self.shape.heads * self._head, 2 * self.shape.key_value_heads * self._head
        log_sum_exp = 4 * self.shape.heads  # which flash attention returns, a float32 for each head
        results = tokens + gathering.rows
        return tokens * (queries + keys_values) + gathering.keys * keys_values + results * (queries + log_sum_exp)

    @property
    def _mlp(self) -> int:
        """Bytes of a token in the MLP. Without fused kernels, the result of attention is still there."""
        vectors = 2 * self.shape.intermediate + self.shape.hidden
        vectors += 0 if self.fused else self.shape.heads * self.shape.head_dim
        return vectors * self.dtype.itemsize

    def _bytes_on_cpu(self, tokens: int) -> int:
        """Return the bytes of the layer for CPUs, whose norms make copies in float32.

        If only `rows_at_once` tokens go through a layer at a time, the memory of the wide activations is kept, and all
        other tokens have their keys and values beside them. In the worst case, one document is as long as the batch.
        Then they also have queries and results, and what attention copies for one key/value head. Behind a long prefix,
        attention copies all keys and values instead, while the document has fewer queries.
        """
        shape = self.shape
        attention = (2 * shape.heads + 4 * shape.key_value_heads) * self._head
        wide = 2 * shape.intermediate * self.dtype.itemsize
        rest_of_mlp = shape.heads * self._head + 3 * 4 * shape.hidden
        if not self.rows_at_once:
            return tokens * (self._kept + max(attention, wide + rest_of_mlp))
        rows = min(tokens, self.rows_at_once)
        alone = 2 * shape.heads + 2 * shape.heads // shape.key_value_heads + 2
        behind_prefix = math.ceil(2 * _SHARE_OF_QUERIES * shape.heads) + 3 * shape.key_value_heads
        other_rows = (2 * shape.key_value_heads + max(alone, behind_prefix)) * self._head
        return tokens * self._kept + rows * (wide + max(attention, rest_of_mlp)) + (tokens - rows) * other_rows
