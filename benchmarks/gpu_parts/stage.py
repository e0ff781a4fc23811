"""What all parts share: the device, the checkpoints with random weights, and the workloads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from qwen3_rerank_plugins.bench.cost import count_flops
from qwen3_rerank_plugins.bench.subject import Subject, write_random_checkpoint
from qwen3_rerank_plugins.bench.texts import RealText, read_passages
from qwen3_rerank_plugins.bench.workloads import BenchWorkload, Size, draw_workload
from qwen3_rerank_plugins.device_check.engines import free_cached_memory
from qwen3_rerank_plugins.device_check.requests import TINY
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.loading.budget import LARGEST_AUTO_BUDGET
from qwen3_rerank_plugins.engine.loading.placement import choose_device
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest

SHAPES: dict[str, Shape] = {name.rpartition("-")[2].lower(): shape for name, shape in PUBLISHED.items()}
SHAPES["tiny"] = TINY

Item = tuple[str, Callable[[], Any]]
"""One measurement of a part: its name, and the function that makes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """What the parts measure on.

    Attributes:
        root: folder of the checkpoints, which are made at their first use and shared by all parts.
        device: as in the settings.
        shapes: names of `SHAPES`, the most important first.
        workloads: names of workloads.
        rounds: runs of each measurement.
    """

    root: Path
    device: str = "cuda"
    shapes: tuple[str, ...] = ("8b", "4b", "0.6b")
    workloads: tuple[str, ...] = ("passages", "chunks", "long", "mixed", "small")
    rounds: int = 3

    @property
    def torch_device(self) -> torch.device:
        """The device, with its index."""
        return choose_device(self.device)[0]

    @property
    def size(self) -> Size:
        """Size of the workloads."""
        return "full" if self.torch_device.type == "cuda" else "short"

    def subject(self, shape: str) -> Subject:
        """Return the checkpoint of a shape. It appears under its name only when it is complete."""
        folder = self.root / shape
        if not folder.is_dir():
            unfinished = self.root / f"{shape}.unfinished"
            unfinished.mkdir(exist_ok=True, parents=True)
            with quiet_libraries():
                write_random_checkpoint(unfinished, SHAPES[shape], torch.bfloat16, DEMO_FOLDER)
            free_cached_memory()
            unfinished.rename(folder)
        return Subject(folder, SHAPES[shape], f"{shape}, random weights")

    def settings(self, shape: str, dtype: str = "bfloat16", **others: Any) -> EngineSettings:
        """Return the engine's settings for the checkpoint of a shape."""
        chosen: dict[str, Any] = {"device": self.device, "dtype": dtype, "local_files_only": True, **others}
        return EngineSettings(model=str(self.subject(shape).folder), **chosen)

    def draw(self) -> list[BenchWorkload]:
        """Draw the workloads; equal stages draw equal ones."""
        text = RealText(read_passages([]), Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json")), seed=0)
        return [draw_workload(name, text, self.size) for name in self.workloads]


def tokenized(workload: BenchWorkload) -> list[TokenizedRequest]:
    """Return the tokens of a workload."""
    encoder = PromptEncoder(DEMO_FOLDER / "tokenizer.json")
    return [encoder.encode(build_prompt(request), request.max_length) for request in workload.requests]


def flops_of(workload: BenchWorkload, shape: str) -> float:
    """Return the FLOPs of the unique tokens of a workload, in batches of the largest automatic budget."""
    return count_flops(tokenized(workload), SHAPES[shape], LARGEST_AUTO_BUDGET)
