"""The provenance of scores: model, template, dtype, device and package versions, and how two of them differ."""

from __future__ import annotations

import dataclasses
import importlib.metadata

from pydantic import ConfigDict, StrictInt

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.reranker import Qwen3Reranker


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Everything except the texts that scores depend on.

    Attributes:
        model: hub ID, folder or "demo", as in the settings.
        commit: commit on the hub; None for a local folder and the demo.
        template: hash of the prompt template.
        dtype, device, attention, quantization: the resolved values, never "auto"; the device without its index.
        max_length: longest prompt, in tokens.
        package: version of this package.
        torch, transformers, tokenizers: versions of these packages.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # golden files are validated against this class

    model: str
    commit: str | None
    template: str
    dtype: str
    device: str
    attention: str
    quantization: str | None
    max_length: StrictInt
    package: str
    torch: str
    transformers: str
    tokenizers: str


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A field of `Provenance` whose value has changed."""

    what: str
    before: str
    now: str


def collect_provenance(reranker: Qwen3Reranker) -> Provenance:
    """Return the provenance of a reranker's scores. Nothing is downloaded.

    Raises:
        CheckpointNotFoundError: the model is not on this machine, for example because the reranker has a custom scorer.
    """
    import torch

    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

    checkpoint = find_checkpoint(dataclasses.replace(reranker.settings, local_files_only=True))
    placement = choose_placement(reranker.settings, checkpoint)
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
        torch=str(torch.__version__),  # includes the build, which the wheel's metadata may omit
        transformers=importlib.metadata.version("transformers"),
        tokenizers=importlib.metadata.version("tokenizers"),
    )


def list_changes(before: Provenance, now: Provenance) -> list[Change]:
    """Return the fields that differ, in the order of the fields."""
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    return [Change(name, _shown(old[name]), _shown(new[name])) for name in old if old[name] != new[name]]


def _shown(value: str | int | None) -> str:
    return "none" if value is None else str(value)
