"""Whether a published model fits on this machine: known before it is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RerankError

if TYPE_CHECKING:
    from qwen3_rerank_plugins.cli.needs import Need
    from qwen3_rerank_plugins.engine.placement import Placement

_FAMILY = "Qwen/Qwen3-Reranker-"


def warning_about_size(settings: EngineSettings) -> str | None:
    """One line if a published model is too large for a device here; None if it fits, or nobody knows."""
    from qwen3_rerank_plugins.engine.shape import PUBLISHED

    shape = PUBLISHED.get(settings.model)
    if shape is None or settings.device_map:
        return None
    from qwen3_rerank_plugins.cli.needs import predict_needs
    from qwen3_rerank_plugins.engine.placement import choose_placement, dtype_name

    for replica in dict.fromkeys(settings.replicas):
        try:
            placement = choose_placement(replica)
        except RerankError:
            return None  # loading says it better
        (need,) = predict_needs(replica, placement, shape, settings.replicas.count(replica), None)
        if not need.fits:
            fitting = fitting_sizes(need, placement)
            remedy = (
                f"Take a smaller one with --model {_FAMILY}{fitting[-1]}, or see qwen3-rerank doctor."
                if fitting
                else "No published size fits: see qwen3-rerank doctor, and --remote for a server elsewhere."
            )
            return (
                f"{settings.model} needs {size(need.at_most)} in {dtype_name(placement.dtype)} on {need.device}, where "
                f"{size(need.free)} is free: it will probably not fit. {remedy}"
            )
    return None


def fitting_sizes(need: Need, placement: Placement) -> list[str]:
    """Published sizes of which one fits where another did not, smallest first."""
    from qwen3_rerank_plugins.engine.budget import SMALLEST_AUTO_BUDGET
    from qwen3_rerank_plugins.engine.shape import PUBLISHED

    dtype, mode, rows = placement.dtype, placement.quantization.name, placement.rows_at_once
    return [
        name.removeprefix(_FAMILY)
        for name, shape in PUBLISHED.items()
        if need.models * (shape.weight_bytes(dtype, mode) + shape.pass_bytes(SMALLEST_AUTO_BUDGET, dtype, rows))
        <= need.free
    ]


def size(memory: int) -> str:
    """Bytes as a person reads them."""
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**29 else f"{memory / 2**20:.1f} MiB"
