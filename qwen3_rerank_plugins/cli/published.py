"""The three published checkpoints, so that their needs can be told before 16 GB are downloaded.

Comes in: a hub id. Goes out: its `Shape`, as its config.json on the hub has it.
Must not know: this machine.
"""

from __future__ import annotations

from qwen3_rerank_plugins.engine.budget import Shape

POSITIONS = 40_960
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
