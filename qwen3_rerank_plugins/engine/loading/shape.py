"""The sizes of a Qwen3 model, and the memory that follows from them; those of the published checkpoints are known here.

Comes in: a config.json. Goes out: `Shape`, which counts parameters and bytes.
Must not know: this machine, requests.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from qwen3_rerank_plugins.engine.checkpoints.model_sizes import score_rows
from qwen3_rerank_plugins.engine.loading.quantization import matrix_bytes
from qwen3_rerank_plugins.engine.settings import Quantization


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen3 model, as its config.json names them; `score_rows` where those are all of its output."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    score_rows: int = 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """Read the sizes from a parsed config.json."""
        heads = config["num_attention_heads"]
        return cls(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            key_value_heads=config["num_key_value_heads"],
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings")),
            score_rows=score_rows(config),
        )

    @property
    def parameters(self) -> int:
        """Parameters in all, the output matrix included where it is not tied to the input."""
        rows = self.vocabulary + self._output_rows
        return self.layer_parameters + rows * self.hidden + self.hidden

    @property
    def _output_rows(self) -> int:
        return self.score_rows or (0 if self.tied else self.vocabulary)

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers, norms included."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.key_value_heads) + 2 * self.head_dim
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden)

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of one layer's seven matrices, the only parameters that are ever quantised."""
        query, key_value = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        attention = ((query, self.hidden), (key_value, self.hidden), (key_value, self.hidden), (self.hidden, query))
        return (*attention, *2 * ((self.intermediate, self.hidden),), (self.hidden, self.intermediate))

    def weight_bytes(self, dtype: torch.dtype, quantization: Quantization | None = None) -> int:
        """Memory of the loaded weights, scales included."""
        if quantization is None:
            return self.parameters * dtype.itemsize
        kept = self.parameters - self.layers * sum(rows * columns for rows, columns in self.matrices)
        quantised = self.layers * sum(matrix_bytes(quantization, rows, columns) for rows, columns in self.matrices)
        return kept * dtype.itemsize + quantised

    def output_matrix_bytes(self, dtype: torch.dtype) -> int:
        """What is freed once the two rows of the answers are taken; nothing where the input needs the matrix too."""
        return 0 if self.score_rows else self._output_rows * self.hidden * dtype.itemsize

    def pass_bytes(self, tokens: int, dtype: torch.dtype, rows_at_once: int | None) -> int:
        """Peak memory of a pass beside the weights.

        The residual stream (float32) and the rotation stay all the time. On top comes the larger of two stages:
        attention, with queries, keys, values, one gathered copy of keys and values, and the result; or the MLP, with
        that result, two of its wide activations and three hidden vectors in float32. Where only `rows_at_once` tokens
        go through a layer at a time, the memory of the wide activations is kept, and all others have their keys and
        values beside them; and in the worst case, one document as long as the pass, queries and results too, and what
        attention copies for one key/value head.
        """
        heads = self.head_dim * dtype.itemsize
        kept = 4 * self.hidden + 2 * heads
        attention = (2 * self.heads + 4 * self.key_value_heads) * heads
        wide = 2 * self.intermediate * dtype.itemsize
        rest_of_mlp = self.heads * heads + 3 * 4 * self.hidden
        if not rows_at_once:
            return tokens * (kept + max(attention, wide + rest_of_mlp))
        rows = min(tokens, rows_at_once)
        copies = 2 * self.heads // self.key_value_heads + 2
        waiting = (2 * self.heads + 2 * self.key_value_heads + copies) * heads
        return tokens * kept + rows * (wide + max(attention, rest_of_mlp)) + (tokens - rows) * waiting


POSITIONS = 40_960
"""Of every published checkpoint."""
_VOCABULARY = 151_669

PUBLISHED = {
    "Qwen/Qwen3-Reranker-0.6B": Shape(
        hidden=1024,
        layers=28,
        heads=16,
        key_value_heads=8,
        head_dim=128,
        intermediate=3072,
        vocabulary=_VOCABULARY,
        tied=True,
    ),
    "Qwen/Qwen3-Reranker-4B": Shape(
        hidden=2560,
        layers=36,
        heads=32,
        key_value_heads=8,
        head_dim=128,
        intermediate=9728,
        vocabulary=_VOCABULARY,
        tied=True,
    ),
    "Qwen/Qwen3-Reranker-8B": Shape(
        hidden=4096,
        layers=36,
        heads=32,
        key_value_heads=8,
        head_dim=128,
        intermediate=12_288,
        vocabulary=_VOCABULARY,
        tied=False,
    ),
}
