"""A model that is too large for one GPU -> which of its modules go to which.

Comes in: a config.json, a dtype. Goes out: `DeviceMap`, decided by accelerate before anything is read.
Must not know: weights, passes, scores.

Whole layers are placed, so that what travels between two devices is what travels between two layers. Nothing is ever
left to the CPU or the disk beside GPUs: every pass would carry it across, and wait.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins.errors import DeviceMemoryError

DeviceKey = int | str
"""As accelerate calls a device: the number of a GPU, or "cpu", "mps", "disk"."""
_LAYER = "model.layers."
_SHARE_OF_FREE_MEMORY = 0.9
"""The rest is for what passes need beside the weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceMap:
    """Where the modules of a model go.

    Attributes:
        places: for each module, or for the one around it, its device.
        weights: bytes of parameters on each device, in the order in which a pass meets the devices.
    """

    devices: dict[str, DeviceKey]
    weights: dict[torch.device, int]

    def describe(self) -> str:
        """In words: which layers stand where."""
        layers = sorted(
            (int(name.removeprefix(_LAYER)), device_of(place))
            for name, place in self.devices.items()
            if name.startswith(_LAYER)
        )
        if not layers:  # one device holds all that there is
            return f"all layers on {', '.join(map(str, self.weights))}"
        spans = []
        for device, those in itertools.groupby(layers, key=lambda layer: layer[1]):
            numbers = [number for number, _ in those]
            spans.append(f"{numbers[0]}-{numbers[-1]} on {device}")
        return f"layers {', '.join(spans)}"


def choose_map(folder: Path, dtype: torch.dtype, most: dict[DeviceKey, int] | None = None) -> DeviceMap:
    """Spread a model evenly over all GPUs; where there is none, it stays whole.

    Args:
        folder: of the checkpoint.
        dtype: of its weights, once loaded.
        most: bytes that each device may take; None is nearly all that is free there now.

    Raises:
        DeviceMemoryError: the GPUs together have not enough memory.
    """
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import compute_module_sizes, get_balanced_memory, get_max_memory
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    config = Qwen3Config.from_pretrained(folder, local_files_only=True)
    classifies = config.architectures == [Qwen3ForSequenceClassification.__name__]
    with init_empty_weights():
        skeleton: Any = (Qwen3ForSequenceClassification if classifies else Qwen3ForCausalLM)(config)
    skeleton.tie_weights()
    most = most or {place: int(free * _SHARE_OF_FREE_MEMORY) for place, free in get_max_memory().items()}
    whole = {"no_split_module_classes": skeleton._no_split_modules, "dtype": dtype}
    devices: dict[str, DeviceKey] = infer_auto_device_map(
        skeleton, get_balanced_memory(skeleton, most, **whole), **whole
    )
    sizes = compute_module_sizes(skeleton, dtype=dtype)
    weights: dict[torch.device, int] = {}
    left_over = 0
    on_gpus = torch.accelerator.is_available() or any(isinstance(place, int) for place in devices.values())
    for name, place in devices.items():
        if place == "disk" or (place == "cpu" and on_gpus):
            left_over += sizes[name]
        else:
            device = device_of(place)
            weights[device] = weights.get(device, 0) + sizes[name]
    if left_over:
        raise DeviceMemoryError(
            f"device_map='auto' has no room for {left_over / 2**30:.1f} of {sizes[''] / 2**30:.1f} GiB of weights on "
            "the GPUs, and from the CPU or the disk every pass would have to fetch them. Free memory, show more GPUs "
            "to this process, use a smaller checkpoint, or quantization='int4' on one GPU."
        )
    return DeviceMap(devices, weights)


def device_of(place: DeviceKey) -> torch.device:
    """Torch's word for a place of accelerate's."""
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
