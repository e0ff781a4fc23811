"""The sizes of a Qwen3 model, and the parameters and memory that follow from them; sizes of the published models."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from qwen3_rerank_plugins.engine.checkpoints.model_sizes import score_rows
from qwen3_rerank_plugins.engine.loading.quantization import matrix_bytes
from qwen3_rerank_plugins.engine.settings import Quantization


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen3 model from its config.json. `score_rows` is 0 for a model with an output matrix."""

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
        """Return the sizes in a parsed config.json."""
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
        """All parameters, including the output matrix unless it is tied to the input embeddings."""
        rows = self.vocabulary + self._output_rows
        return self.layer_parameters + rows * self.hidden + self.hidden

    @property
    def _output_rows(self) -> int:
        return self.score_rows or (0 if self.tied else self.vocabulary)

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers, including norms."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.key_value_heads) + 2 * self.head_dim
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden)

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the seven matrices of a layer, the only parameters that are ever quantized."""
        query, key_value = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        attention = ((query, self.hidden), (key_value, self.hidden), (key_value, self.hidden), (self.hidden, query))
        return (*attention, *2 * ((self.intermediate, self.hidden),), (self.hidden, self.intermediate))

    def weight_bytes(self, dtype: torch.dtype, quantization: Quantization | None = None) -> int:
        """Return the bytes of the loaded weights, including scales."""
        if quantization is None:
            return self.parameters * dtype.itemsize
        kept = self.parameters - self.layers * sum(rows * columns for rows, columns in self.matrices)
        quantized = self.layers * sum(matrix_bytes(quantization, rows, columns) for rows, columns in self.matrices)
        return kept * dtype.itemsize + quantized

    def output_matrix_bytes(self, dtype: torch.dtype) -> int:
        """Return the bytes freed once the yes/no rows were copied; 0 if the matrix is the input embeddings too."""
        return 0 if self.score_rows else self._output_rows * self.hidden * dtype.itemsize


POSITIONS = 40_960
"""Longest prompt of every published model, in tokens."""
_VOCABULARY = 151_669

PUBLISHED = {
    # hidden, layers, heads, key/value heads, head_dim, intermediate, vocabulary, tied
    "Qwen/Qwen3-Reranker-0.6B": Shape(1024, 28, 16, 8, 128, 3072, _VOCABULARY, tied=True),
    "Qwen/Qwen3-Reranker-4B": Shape(2560, 36, 32, 8, 128, 9728, _VOCABULARY, tied=True),
    "Qwen/Qwen3-Reranker-8B": Shape(4096, 36, 32, 8, 128, 12_288, _VOCABULARY, tied=False),
}
