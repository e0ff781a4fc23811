"""What made scores: model, template, number format, versions; and what of it differs between two times.

Comes in: a reranker. Goes out: `Making`, and `Change`s between two of them.
Must not know: scores.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.reranker import Qwen3Reranker


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Everything beside the texts that scores depend on.

    Attributes:
        model: as the settings name it.
        commit: on the hub; None for a local folder and the demo.
        template: hash of the prompt around the texts.
        dtype, device, attention, quantization: what ran, never "auto"; the device is its kind.
        max_length: tokens of a whole prompt.
        package: version of this package.
        torch, transformers, tokenizers: versions.
    """

    model: str
    commit: str | None
    template: str
    dtype: str
    device: str
    attention: str
    quantization: str | None
    max_length: int
    package: str
    torch: str
    transformers: str
    tokenizers: str


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One field of a making that is not what it was."""

    what: str
    before: str
    now: str


def collect_provenance(reranker: Qwen3Reranker) -> Provenance:
    """What makes the scores of a reranker whose model is on this machine; nothing is fetched.

    Raises:
        CheckpointNotFoundError: its model is not here, as for a reranker with an engine of its own.
    """
    import torch

    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

    checkpoint = find_checkpoint(dataclasses.replace(reranker.settings, local_files_only=True))
    placement = choose_placement(reranker.settings)
    return Provenance(
        model=reranker.settings.model,
        commit=checkpoint.commit,
        template=template_hash(),
        dtype=dtype_name(placement.dtype),
        device=placement.device.type,
        attention=placement.attention.name,
        quantization=placement.quantization.name,
        max_length=reranker.max_length or min(DEFAULT_MAX_LENGTH, checkpoint.positions),
        package=__version__,
        torch=str(torch.__version__),  # with its build: the wheel's own version may leave that out
        transformers=importlib.metadata.version("transformers"),
        tokenizers=importlib.metadata.version("tokenizers"),
    )


def list_changes(before: Provenance, now: Provenance) -> list[Change]:
    """The fields that differ, in the order of the fields."""
    return [
        Change(field.name, _shown(getattr(before, field.name)), _shown(getattr(now, field.name)))
        for field in dataclasses.fields(Provenance)
        if getattr(before, field.name) != getattr(now, field.name)
    ]


def _shown(value: str | int | None) -> str:
    return "none" if value is None else str(value)
