"""How much memory a model takes, and how many tokens of one pass fit beside it.

Comes in: a checkpoint's config, a dtype and free memory. Goes out: bytes and tokens.
Must not know: requests.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from qwen3_rerank_plugins.engine.quantization import matrix_bytes
from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.engine.weights import LoadedModel

LARGEST_AUTO_BUDGET = 16_384
"""Tokens. Matrix products are at full speed long before; more would only take memory."""
SMALLEST_AUTO_BUDGET = 512
_SHARE_OF_FREE_MEMORY = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen3 model, as its config.json names them."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

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
        )

    @property
    def parameters(self) -> int:
        """Parameters in all, the output matrix included where it is not tied to the input."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layer_parameters + embeddings + self.hidden

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

    def token_bytes(self, dtype: torch.dtype) -> int:
        """Peak memory of one more token in a pass: residual, normalised copy (float32 inside), and the wider of MLP and
        attention.
        """
        mlp = 3 * self.intermediate
        attention = self.head_dim * (2 * self.heads + 4 * self.key_value_heads)
        return (3 * self.hidden + max(mlp, attention)) * dtype.itemsize + 2 * self.hidden * 4


def choose_budget(asked: int | Literal["auto"], loaded: LoadedModel) -> int:
    """Unique tokens a pass may hold: what was asked, or what half of the free memory holds, within fixed limits."""
    if asked != "auto":
        return asked
    shape = Shape.from_config(loaded.causal_lm.config.to_dict())
    return auto_budget(shape, loaded.placement.dtype, free_memory(loaded.placement.device))


def auto_budget(shape: Shape, dtype: torch.dtype, free: int) -> int:
    """The budget that `free` bytes allow beside weights that are already there."""
    fitting = int(free * _SHARE_OF_FREE_MEMORY) // shape.token_bytes(dtype)
    return max(SMALLEST_AUTO_BUDGET, min(LARGEST_AUTO_BUDGET, fitting))


def free_memory(device: torch.device) -> int:
    """Free bytes of the device; for CPU and MPS, of the machine or of what a container may have of it."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(min(psutil.virtual_memory().available, cgroup_memory()))


def cgroup_memory(membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the control groups of this process leave it; infinity where none sets a limit, or none are there.

    psutil sees the whole machine's memory, also from inside a container, which is killed when it takes what it sees.
    """
    free = math.inf
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return free
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top, files = mount, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):  # version 1
            top = mount / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top):
                free = min(free, _left_in(group, *files))
    return free


def _left_in(group: Path, limit: str, usage: str, droppable: str) -> float:
    """Limit minus usage. Cached files that can be dropped are no usage: a checkpoint that was just read is one."""
    try:
        allowed = int((group / limit).read_text(encoding="utf-8"))
        used = int((group / usage).read_text(encoding="utf-8"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):  # the topmost group has no such files, and "max" is no number
        return math.inf
    return max(0, allowed - used + int(stat.get(droppable, 0)))
