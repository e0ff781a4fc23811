"""Peak memory while a model loads, measured in a new process where nothing has been allocated before.

`python -m` on this module reads the settings as JSON from stdin and prints `Loading` as JSON.
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

from qwen3_rerank_plugins.bench.stopwatch import Measured, measure
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """Memory of a new process that loads the model, without the memory of its libraries.

    Attributes:
        stored: dtype of the weights in the files.
        weights: bytes of the loaded parameters.
        peak: largest number of bytes while loading.
        peak_ratio: peak / weights; 2 would mean two copies.
    """

    stored: str
    weights: int
    peak: int
    peak_ratio: float


def watch_in_fresh_process(settings: EngineSettings) -> Loading:
    """Load the model in a new interpreter and return what it measured."""
    command = [sys.executable, "-m", __name__]
    # through stdin: other users can list a process's arguments, and the settings hold the hub token
    asked = json.dumps(dataclasses.asdict(settings))
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Loading in a new process failed:\n{done.stderr}")
    return Loading(**json.loads(done.stdout.splitlines()[-1]))


def watch(settings: EngineSettings) -> Loading:
    """Load the model in this process and return the peak."""
    _ = transformers.AutoModelForCausalLM, transformers.Qwen3ForCausalLM  # imported before the measurement starts
    device = choose_placement(settings).device
    torch.empty(1, device=device)
    measured = measure(lambda: _load_and_touch(settings), device)
    peak = require_growth(measured, device)
    weights = sum(parameter.nbytes for parameter in measured.answer.parameters())
    return Loading(stored_dtype(find_checkpoint(settings).folder), weights, peak, peak / weights)


def require_growth(measured: Measured, device: torch.device) -> int:
    """Return the peak growth in bytes, or raise SettingsError if this system cannot measure it."""
    if measured.peak_growth is None:
        raise SettingsError(f"Peak memory cannot be measured on {device} here. Use device='cuda', or Linux.")
    return measured.peak_growth


def stored_dtype(folder: Path) -> str:
    """Return the dtype of the first tensor of the first weight file, such as "bfloat16"."""
    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        stored: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return str(stored).removeprefix("torch.")


def _load_and_touch(settings: EngineSettings) -> Any:
    """Load the weights and read them, because memory-mapped weights are resident only after that."""
    causal_lm = load_model(settings, find_checkpoint(settings)).causal_lm
    for parameter in causal_lm.parameters():
        parameter.flatten()[::256].sum().item()
    return causal_lm


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(watch(EngineSettings(**json.load(sys.stdin))))))  # noqa: T201
