"""The model under test: an existing checkpoint, or a new one of a published shape with random weights.

Random weights rank nothing, but they cost exactly what real weights cost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading.shape import POSITIONS, PUBLISHED, Shape
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.settings import EngineSettings

ShapeName = Literal["0.6b", "4b", "8b"]


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """The model under test.

    Attributes:
        folder: a checkpoint that our engine and every baseline can load.
        shape: its sizes.
        label: its name in tables, such as "0.6b, 4 of 28 layers, random weights".
    """

    folder: Path
    shape: Shape
    label: str


@contextlib.contextmanager
def open_subject(
    model: str | None, shape: ShapeName, layers: int | None, dtype: torch.dtype, tokenizer: Path | None
) -> Iterator[Subject]:
    """Yield the given model, or a random one that is deleted afterwards.

    Args:
        model: a real checkpoint; None makes a random one.
        shape: the published shape of the random model.
        layers: number of layers of the random model; None is all.
        dtype: dtype of the random weights on disk.
        tokenizer: folder with the tokenizer of a Qwen3-Reranker; None takes the demo's. The demo's vocabulary is
            smaller, but documents are cut by tokens, so the work is the same.
    """
    if model is not None:
        checkpoint = find_checkpoint(EngineSettings(model=model))
        label = "demo checkpoint" if model == DEMO else model
        yield Subject(checkpoint.folder, Shape.from_config(checkpoint.config), label)
        return
    full = PUBLISHED[f"Qwen/Qwen3-Reranker-{shape.upper()}"]
    cut = dataclasses.replace(full, layers=layers or full.layers)
    with tempfile.TemporaryDirectory(prefix="qwen3-rerank-bench-") as folder:
        write_random_checkpoint(Path(folder), cut, dtype, tokenizer or DEMO_FOLDER)
        yield Subject(Path(folder), cut, f"{shape}, {cut.layers} of {full.layers} layers, random weights")


@contextlib.contextmanager
def stored_as(subject: Subject, dtype: torch.dtype) -> Iterator[Path]:
    """Yield a copy of the checkpoint with its weights in another dtype; it is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="qwen3-rerank-bench-") as copy:
        folder = Path(copy)
        for file in sorted(path for path in subject.folder.iterdir() if path.is_file()):
            if file.suffix == ".safetensors":
                tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
                save_file(tensors, folder / file.name, metadata={"format": "pt"})
            else:
                shutil.copy(file, folder / file.name)
        yield folder


def write_random_checkpoint(folder: Path, shape: Shape, dtype: torch.dtype, tokenizer: Path, seed: int = 0) -> None:
    """Write a checkpoint folder that transformers and sentence-transformers load like a published one.

    The weights are scaled so that log-odds span several units, because scores near zero would hide differences between
    two implementations.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        architectures=["Qwen3ForCausalLM"],
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):  # filling an 8B model takes seconds on a GPU and minutes on a CPU
            causal_lm = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    _randomize(causal_lm, torch.Generator(device).manual_seed(seed))
    causal_lm.save_pretrained(folder)
    _add_tokenizer(folder, tokenizer)


@torch.no_grad()
def _randomize(causal_lm: Any, generator: torch.Generator) -> None:
    for name, parameter in causal_lm.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.5, 1.5, generator=generator)
        elif "embed" in name or "lm_head" in name:
            parameter.normal_(0, 2.0 * parameter.shape[-1] ** -0.5, generator=generator)
        else:
            parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)


def _add_tokenizer(folder: Path, tokenizer: Path) -> None:
    """Copy the tokenizer, and the demo's files by which sentence-transformers recognizes a yes/no reranker."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        shutil.copy(DEMO_FOLDER / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    roles = json.loads((DEMO_FOLDER / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": roles}), encoding="utf-8")
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (folder / "1_LogitScore").mkdir()
    head = json.loads((DEMO_FOLDER / "1_LogitScore" / "config.json").read_text(encoding="utf-8"))
    head.update(true_token_id=vocabulary["yes"], false_token_id=vocabulary["no"])
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(head), encoding="utf-8")
