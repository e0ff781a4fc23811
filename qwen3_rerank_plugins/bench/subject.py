"""The model under test: a checkpoint that exists, or one of a published shape with random weights, made in place.

Comes in: a model's name, or a shape and a depth. Goes out: `Subject`, a folder that every peer can load.
Must not know: workloads, clocks. Random weights rank nothing; they cost exactly what real ones cost.
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
    """What is measured.

    Attributes:
        folder: the checkpoint.
        shape: its sizes.
        label: for people: "0.6b, 4 of 28 layers, random weights", or the model's name.
    """

    folder: Path
    shape: Shape
    label: str


@contextlib.contextmanager
def open_subject(
    model: str | None, shape: ShapeName, layers: int | None, dtype: torch.dtype, tokenizer: Path | None
) -> Iterator[Subject]:
    """The given model, or a random one that is deleted afterwards.

    Args:
        model: a real checkpoint; None makes one.
        shape: the published shape of a random one.
        layers: its depth, None for all.
        dtype: of the weights on disk.
        tokenizer: a folder with the tokenizer of a Qwen3-Reranker; None takes the demo's, whose vocabulary is smaller
            (documents are cut by tokens, so that the work is the same).
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
    """A copy of the checkpoint with its weights in another dtype; deleted afterwards."""
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
    """A checkpoint folder that transformers and sentence-transformers load like a published one.

    The weights are scaled so that log-odds of several units come out: differences between two ways to compute them
    would not show in scores that are all nearly zero.
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
        with torch.device(device):  # an 8B is filled in seconds on a GPU, and in minutes on a CPU
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
    """The tokenizer's files, and those by which sentence-transformers knows a yes/no reranker: the demo's own."""
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
