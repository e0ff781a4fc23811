"""Tensors that pretend to be on a GPU, and compute on the CPU: several GPUs where there is none.

The numbers are real. What mixes two devices fails as it would on GPUs, and every move from one to another is counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

CPU = torch.device("cpu")
GPUS = torch.device("cuda", 0), torch.device("cuda", 1)
Move = tuple[torch.device, torch.device]


class Placed(torch.Tensor):
    """A CPU tensor that is said to be on a GPU."""

    place: torch.device

    def __deepcopy__(self, _: dict[int, Any]) -> Any:
        return placed(self.as_subclass(torch.Tensor).clone(), self.place)


def placed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor under the name of a device."""
    if device == CPU:
        return tensor
    named = tensor.as_subclass(Placed)
    named.place = device
    return named


class PretendedGpus(TorchFunctionMode):
    """Sees every call of torch: who takes part, and where that would be.

    Attributes:
        moves: (from, to) of everything that was moved, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[Move] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = dict(options or {})
        if function == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return _place_of(arguments[0])
        # as on a GPU, single numbers may come from the CPU
        met = {_place_of(one) for one in tree_iter((arguments, options)) if isinstance(one, torch.Tensor) and one.dim()}
        if len(met) > 1:
            raise RuntimeError(f"{function.__name__}: {sorted(map(str, met))} meet")
        asked = [one for one in (*arguments, options.get("device")) if isinstance(one, torch.device)]
        here = next(iter(met), CPU)
        there = asked[0] if asked else here
        if met and there != here:
            self.moves.append((here, there))
        arguments, options = tree_map(lambda one: CPU if isinstance(one, torch.device) else one, (arguments, options))
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **options)
        if met and there != here and isinstance(result, torch.Tensor):
            result = result.clone()
        return tree_map(lambda one: placed(one, there) if isinstance(one, torch.Tensor) else one, result)


def _place_of(tensor: torch.Tensor) -> torch.device:
    return tensor.place if isinstance(tensor, Placed) else CPU


@contextlib.contextmanager
def pretended_gpus() -> Iterator[PretendedGpus]:
    """While this lasts, tensors can be on GPUs."""
    with PretendedGpus() as gpus:
        yield gpus


def place(module: torch.nn.Module, device: torch.device) -> None:
    """Put the parameters and buffers of a module on a pretended device."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = placed(tensor.detach(), device)  # type: ignore[assignment]
