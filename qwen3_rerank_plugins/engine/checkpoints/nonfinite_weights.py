"""Find tensors with NaN or infinity in weight files. This runs only after a score was not finite."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from qwen3_rerank_plugins._printable import logger, shown

_SHOWN = 3


def describe_damage(files: Iterable[Path]) -> str:
    """Return what is wrong with the weights in these files and what to do; empty if all numbers are finite.

    The files are read whole, one tensor at a time.
    """
    broken = [name for file in files for name in _broken_tensors(file)]
    if not broken:
        return ""
    more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    return (
        f"The checkpoint's weights are damaged: they hold NaN or infinity, in "
        f"{', '.join(map(shown, broken[:_SHOWN]))}{more}. Download or export it again."
    )


def _broken_tensors(file: Path) -> list[str]:
    import torch
    from safetensors import safe_open

    broken: list[str] = []
    try:
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
        for name in names:
            with safe_open(file, framework="pt") as opened:  # a mapped file counts as resident until it is closed
                tensor = opened.get_tensor(name)
            if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
                broken.append(name)
    except Exception:  # for example, the file was deleted after it was loaded
        logger.log(logging.DEBUG, "%s cannot be searched for NaN", file, exc_info=True)
    return broken
