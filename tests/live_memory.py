"""Watch a computation from below: which kernels run, what they allocate, and how many bytes exist at the same time."""

from __future__ import annotations

import collections
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """While it is active, watches every operator. Tensors need no numbers.

    Args:
        device_type: the type of the devices whose memory counts.

    Attributes:
        peak: most bytes that storages took at one time: those made meanwhile, and those of `watch`.
        kernels: how often each operator ran that computes something; views do not count.
        made: shape and dtype of each tensor that was made, in order.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.peak = 0
        self.kernels: collections.Counter[str] = collections.Counter()
        self.made: list[tuple[tuple[int, ...], torch.dtype]] = []
        self._device_type = device_type
        self._ignored: set[int] = set()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def ignore(self, *tensors: torch.Tensor) -> None:
        """Do not count the storages of these tensors."""
        self._ignored |= {StorageWeakRef(tensor.untyped_storage()).cdata for tensor in tensors}

    def watch(self, *tensors: torch.Tensor) -> None:
        """Count the storages of these tensors for as long as they exist."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            reference = StorageWeakRef(storage)
            if tensor.device.type == self._device_type and reference.cdata not in self._ignored:
                self._live[reference.cdata] = reference, storage.nbytes()
        self._live = {key: one for key, one in self._live.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        new = [tensor for tensor in results if _storage(tensor) not in given]
        if new or func._schema.is_mutable:
            self.kernels[func.name()] += 1
            self.made += ((tuple(tensor.shape), tensor.dtype) for tensor in new)
        self.watch(*new)
        return result


def _storage(tensor: torch.Tensor) -> int:
    return StorageWeakRef(tensor.untyped_storage()).cdata
