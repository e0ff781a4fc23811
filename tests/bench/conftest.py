"""A small model for every study: two layers of a shape like the real ones, the demo's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from qwen3_rerank_plugins.bench.subject import Subject, write_random_checkpoint
from qwen3_rerank_plugins.bench.texts import RealText, read_passages
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.loading.shape import Shape

SMALL = Shape(
    hidden=64, layers=2, heads=4, key_value_heads=2, head_dim=32, intermediate=96, vocabulary=9_216, tied=False
)


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("subject")
    write_random_checkpoint(folder, SMALL, torch.float32, DEMO_FOLDER)
    return Subject(folder, SMALL, "small, random weights")


@pytest.fixture
def text() -> RealText:
    return RealText(read_passages([]), Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json")), seed=0)


@pytest.fixture
def told() -> list[str]:
    """What a study said it was doing."""
    return []


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    file = tmp_path / "set.jsonl"
    file.write_text(
        '{"query": "q", "candidates": [{"text": "One sentence.\\u2028Still one. Two!"}, {"text": "Three?"}]}\n\n',
        encoding="utf-8",
    )
    return file
