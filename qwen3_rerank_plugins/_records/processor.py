"""The processor of this machine, as records name it."""

from __future__ import annotations

import dataclasses
import platform

_FLAGS = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_", "sve", "bf16", "i8mm")
"""How the names of instructions that matter for matrix products begin."""


@dataclasses.dataclass(frozen=True, slots=True)
class Processor:
    """The processor of a machine.

    Attributes:
        name: its name, or the architecture where torch does not know the name.
        flags: its instructions for fast products.
        kernels: the instructions that torch's own kernels use, such as "AVX2".
    """

    name: str
    flags: tuple[str, ...]
    kernels: str


def find_processor() -> Processor:
    """Return the processor of this machine, as torch sees it."""
    import torch

    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    flags = tuple(sorted(name for name, has in found.items() if has is True and name.startswith(_FLAGS)))
    return Processor(str(found.get("cpu_name") or platform.machine()), flags, torch.backends.cpu.get_cpu_capability())
