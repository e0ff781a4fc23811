"""Decide which layers go to which GPU, for a model that is too large for one.

Each layer stays whole, so that only hidden states move between devices. No layer is left on the CPU or disk beside
GPUs, because every batch would have to copy its weights and wait.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins.errors import DeviceMemoryError

DeviceKey = int | str
"""A device in accelerate: the number of a GPU, or "cpu", "mps", "disk"."""
_LAYER = "model.layers."
_SHARE_OF_FREE_MEMORY = 0.9
"""The rest is for what batches need besides the weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceMap:
    """The device of each module of a model.

    Attributes:
        devices: device by module name; a module without an entry is on the device of its parent.
        weights: bytes of parameters on each device, in the order in which a batch passes the devices.
    """

    devices: dict[str, DeviceKey]
    weights: dict[torch.device, int]

    def describe(self) -> str:
        """Return which layers are on which device, in words."""
        layers = sorted(
            (int(name.removeprefix(_LAYER)), device_of(key))
            for name, key in self.devices.items()
            if name.startswith(_LAYER)
        )
        if not layers:  # one device holds the whole model
            return f"all layers on {', '.join(map(str, self.weights))}"
        spans = []
        for device, group in itertools.groupby(layers, key=lambda layer: layer[1]):
            numbers = [number for number, _ in group]
            spans.append(f"{numbers[0]}-{numbers[-1]} on {device}")
        return f"layers {', '.join(spans)}"


def choose_map(folder: Path, dtype: torch.dtype, most: dict[DeviceKey, int] | None = None) -> DeviceMap:
    """Spread a model evenly over all GPUs; without a GPU, it stays whole. No weight is read.

    Args:
        folder: the folder of the checkpoint.
        dtype: dtype of the loaded weights.
        most: bytes that each device may hold; None uses 90 % of the memory that is free now.

    Raises:
        DeviceMemoryError: all GPUs together do not have enough memory.
    """
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import compute_module_sizes, get_balanced_memory, get_max_memory
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    config = Qwen3Config.from_pretrained(folder, local_files_only=True)
    classifies = config.architectures == [Qwen3ForSequenceClassification.__name__]
    with init_empty_weights():
        skeleton: Any = (Qwen3ForSequenceClassification if classifies else Qwen3ForCausalLM)(config)
    skeleton.tie_weights()
    most = most or {key: int(free * _SHARE_OF_FREE_MEMORY) for key, free in get_max_memory().items()}
    options = {"no_split_module_classes": skeleton._no_split_modules, "dtype": dtype}
    balanced = get_balanced_memory(skeleton, most, **options)
    devices: dict[str, DeviceKey] = infer_auto_device_map(skeleton, balanced, **options)
    sizes = compute_module_sizes(skeleton, dtype=dtype)
    weights: dict[torch.device, int] = {}
    left_over = 0
    on_gpus = torch.accelerator.is_available() or any(isinstance(key, int) for key in devices.values())
    for name, key in devices.items():
        if key == "disk" or (key == "cpu" and on_gpus):
            left_over += sizes[name]
        else:
            device = device_of(key)
            weights[device] = weights.get(device, 0) + sizes[name]
    if left_over:
        raise DeviceMemoryError(
            f"device_map='auto' cannot fit {left_over / 2**30:.1f} of {sizes[''] / 2**30:.1f} GiB of weights on the "
            "GPUs, and layers on the CPU or disk would make every batch wait for them. Free memory, show more GPUs to "
            "this process, use a smaller checkpoint, or quantization='int4' on one GPU."
        )
    return DeviceMap(devices, weights)


def device_of(key: DeviceKey) -> torch.device:
    """Return the torch device of an accelerate device."""
    return torch.device("cuda", key) if isinstance(key, int) else torch.device(key)
