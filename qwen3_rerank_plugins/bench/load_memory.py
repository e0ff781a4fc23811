"""Memory while a model loads, watched in a process of its own, where nothing has been allocated before.

Comes in: settings. Goes out: `Loading`. As a program (`python -m`): settings as JSON on stdin, `Loading` as JSON out.
Must not know: what the model will be used for.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """Memory of a fresh process that loads the model, libraries not counted.

    Attributes:
        stored: dtype of the files.
        weights: bytes of the parameters.
        peak: bytes at the highest point while loading.
        peak_ratio: peak over weights; 2 would mean two copies.
    """

    stored: str
    weights: int
    peak: int
    peak_ratio: float


def watch_in_fresh_process(settings: EngineSettings) -> Loading:
    """Load the model in a new interpreter and return what it saw."""
    command = [sys.executable, "-m", __name__]
    asked = json.dumps(dataclasses.asdict(settings))  # not an argument: anybody can list those, and one is the token
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Loading in a process of its own failed:\n{done.stderr}")
    return Loading(**json.loads(done.stdout.splitlines()[-1]))


def watch(settings: EngineSettings) -> Loading:
    """Load the model here, and report the peak."""
    _ = transformers.AutoModelForCausalLM, transformers.Qwen3ForCausalLM  # imported before the watch starts
    device = choose_placement(settings).device
    torch.empty(1, device=device)
    measured = measure(lambda: _load_and_touch(settings), device)
    if measured.peak_growth is None:
        raise SettingsError(f"Peak memory cannot be watched on {device} here. Use device='cuda', or Linux.")
    weights = sum(parameter.nbytes for parameter in measured.answer.parameters())
    return Loading(
        stored_dtype(find_checkpoint(settings).folder), weights, measured.peak_growth, measured.peak_growth / weights
    )


def stored_dtype(folder: Path) -> str:
    """The dtype of the first tensor of the first file, in torch's word."""
    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        stored: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return str(stored).removeprefix("torch.")


def _load_and_touch(settings: EngineSettings) -> Any:
    """Weights that stay in the dtype of their file are mapped, and resident only once they are read: read them."""
    causal_lm = load_model(settings, find_checkpoint(settings)).causal_lm
    for parameter in causal_lm.parameters():
        parameter.flatten()[::256].sum().item()
    return causal_lm


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(watch(EngineSettings(**json.load(sys.stdin))))))  # noqa: T201
