"""What `doctor` finds out, station by station; nothing is downloaded, and one station's failure stops no other.

Comes in: a reranker that has loaded nothing. Goes out: `Finding`s.
Must not know: tables, colours, exit codes.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.cli.loading import quiet_libraries
from qwen3_rerank_plugins.engine.checkpoint import DEMO, Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.prompt import template_hash
from qwen3_rerank_plugins.engine.tokens import PromptEncoder
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, RerankError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

if TYPE_CHECKING:
    from qwen3_rerank_plugins.engine.shape import Shape
    from qwen3_rerank_plugins.engine.weights import Placement

QUESTION = "How do bees make honey?"
RELEVANT = "Bees make honey from nectar: they add enzymes and fan their wings until most of the water is gone."
IRRELEVANT = "The night train to the coast was cancelled because of repairs on a bridge."


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out.

    Attributes:
        section, name: what it is about.
        value: for programs; memory is in bytes.
        shown: for people.
        note: why it is so, or what to do about it.
        passed: None for a mere fact.
    """

    section: str
    name: str
    value: Any
    shown: str
    note: str = ""
    passed: bool | None = None


class Checkup:
    """Examines this machine for one model.

    Args:
        reranker: which model, and how it should run.
    """

    def __init__(self, reranker: Qwen3Reranker) -> None:
        self._reranker = reranker
        self._settings = reranker.settings
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        """Everything there is to find out, from the ground up."""
        self._examine_software()
        placement = self._examine_placement()
        checkpoint = self._examine_checkpoint()
        if placement and checkpoint:
            placement = self._examine_kind(placement, checkpoint)
        shape = self._examine_shape(checkpoint) if placement else None
        fits = self._examine_memory(placement, shape, checkpoint) if placement and shape else None
        self._examine_scores(_obstacle(placement, checkpoint, fits))
        return self._findings

    def _examine_software(self) -> None:
        self._add("software", "python", platform.python_version())
        self._add("software", "this package", __version__)
        for package in ("torch", "transformers", "tokenizers"):
            try:
                self._add("software", package, importlib.metadata.version(package))
            except importlib.metadata.PackageNotFoundError:
                self._add("software", package, None, "install this package again", shown="missing", passed=False)

    def _examine_placement(self) -> Placement | None:
        try:
            import torch

            from qwen3_rerank_plugins.engine.weights import choose_placement, dtype_name

            self._add("software", "cuda", torch.version.cuda, shown=torch.version.cuda or "none in this torch")
            placement = choose_placement(self._settings)
        except (RerankError, ImportError, OSError) as error:  # a broken installation of torch shows as any of them
            self._add("machine", "device", None, str(error), shown="unusable", passed=False)
            return None
        device = placement.device
        hardware = f", a {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
        self._add("machine", "device", str(device), f"{placement.device_reason}{hardware}", passed=True)
        self._add("machine", "dtype", dtype_name(placement.dtype), placement.dtype_reason)
        self._add("machine", "attention", placement.attention.name, placement.attention.reason)
        quantization = placement.quantization
        self._add("machine", "quantization", quantization.name, quantization.reason, shown=quantization.name or "none")
        return placement

    def _examine_checkpoint(self) -> Checkpoint | None:
        self._add("model", "template", template_hash(), "changes with every character of the prompt")
        try:
            checkpoint = find_checkpoint(self._settings)
            encoder = PromptEncoder(checkpoint.tokenizer_file)
        except CheckpointNotFoundError as error:
            advice = f"the first use fetches it, and so does: hf download {self._settings.model}"
            known = _published_shape(self._settings.model) is not None
            self._add("model", "checkpoint", None, advice if known else str(error), shown="not here", passed=False)
            return None
        except RerankError as error:
            self._add("model", "checkpoint", None, str(error), shown="unusable", passed=False)
            return None
        origin = "bundled" if checkpoint.name == DEMO else f"commit {checkpoint.commit or 'none, a local folder'}"
        self._add("model", "checkpoint", str(checkpoint.folder), origin, shown="found", passed=True)
        ids = {"yes": encoder.yes_id, "no": encoder.no_id}
        self._add("model", "answers", ids, "one token each", shown=f"yes {ids['yes']}, no {ids['no']}", passed=True)
        return checkpoint

    def _examine_kind(self, placement: Placement, checkpoint: Checkpoint) -> Placement | None:
        """What has to be done to its weights as they are loaded; returns where and how they run then, if they can."""
        from qwen3_rerank_plugins.engine.merging import check_peft
        from qwen3_rerank_plugins.engine.weights import choose_placement

        stored, adapter = checkpoint.stored, checkpoint.adapter
        try:
            if adapter:
                self._add("model", "adapter", adapter.base, "its base, into which it is merged as it is loaded")
                check_peft()
            if stored:
                placement = choose_placement(self._settings, stored)
                self._add("model", "stored as", stored.method, placement.quantization.reason)
        except (RerankError, ImportError) as error:
            self._add("model", "loading", None, str(error), shown="impossible", passed=False)
            return None
        return placement

    def _examine_shape(self, checkpoint: Checkpoint | None) -> Shape | None:
        from qwen3_rerank_plugins.engine.shape import POSITIONS, Shape

        try:
            shape = Shape.from_config(checkpoint.config) if checkpoint else _published_shape(self._settings.model)
        except KeyError:  # left out where it has the default of transformers
            shape = None
        if shape is None:
            self._add("model", "size", None, "only a full config.json of the model tells", shown="unknown")
            return None
        self._add("model", "size", shape.parameters, "parameters", shown=f"{shape.parameters:,}")
        reason = "the output shares the input's matrix" if shape.tied else "the output has a matrix of its own"
        if shape.score_rows:
            self._add("model", "output", shape.score_rows, "a classifier", shown=f"{shape.score_rows} score row(s)")
        else:
            self._add("model", "embeddings", "tied" if shape.tied else "untied", reason)
        positions = checkpoint.positions if checkpoint else POSITIONS
        self._add("model", "positions", positions, "tokens, the longest prompt", shown=f"{positions:,}")
        return shape

    def _examine_memory(self, placement: Placement, shape: Shape, checkpoint: Checkpoint | None) -> bool:
        """Returns whether the model fits."""
        from qwen3_rerank_plugins.engine.budget import SMALLEST_AUTO_BUDGET, auto_budget, free_memory
        from qwen3_rerank_plugins.engine.shape import PUBLISHED

        dtype, mode, free = placement.dtype, placement.quantization.name, free_memory(placement.device)
        weights, asked = shape.weight_bytes(dtype, mode), self._settings.max_batch_tokens
        rows = placement.rows_at_once
        budget = auto_budget(shape, dtype, rows, max(0, free - weights)) if asked == "auto" else asked
        largest_pass = shape.pass_bytes(budget, dtype, rows)
        # output matrix and adapter are there while the model loads, and gone before the first pass
        merged = checkpoint.adapter.weights_file.stat().st_size if checkpoint and checkpoint.adapter else 0
        needed = max(weights + merged, weights - shape.output_matrix_bytes(dtype) + largest_pass)
        reason = "the automatic budget" if asked == "auto" else "as asked for"
        self._add("memory", "weights", weights, shown=size(weights))
        self._add("memory", "largest pass", largest_pass, f"{budget:,} tokens, {reason}", shown=size(largest_pass))
        self._add("memory", "free", free, shown=size(free))
        fitting = [
            name.removeprefix("Qwen/Qwen3-Reranker-")
            for name, other in PUBLISHED.items()
            if other.weight_bytes(dtype, mode) + other.pass_bytes(SMALLEST_AUTO_BUDGET, dtype, rows) <= free
        ]
        advice = f"more than is free; published sizes that fit here: {', '.join(fitting) or 'none'}"
        fits = needed <= free
        self._add("memory", "memory needed", needed, "fits" if fits else advice, shown=size(needed), passed=fits)
        return fits

    def _examine_scores(self, obstacle: str | None) -> None:
        """One pair that any Qwen3-Reranker tells apart, with a probability on either side of one half."""
        if obstacle:
            self._add("scores", "sanity pair", None, obstacle, shown="not tried")
            return
        try:
            with quiet_libraries():
                relevant, irrelevant = self._reranker.score([(QUESTION, RELEVANT), (QUESTION, IRRELEVANT)])
        except (RerankError, ImportError) as error:
            self._add("scores", "sanity pair", None, str(error), shown="failed", passed=False)
            return
        passed = relevant > 0.5 > irrelevant
        note = "told apart" if passed else "not told apart: these are not the weights of a reranker"
        if self._settings.model == DEMO:
            note += "; a demo, for wiring and tests, not for quality"
        scores = {"relevant": relevant, "irrelevant": irrelevant}
        self._add("scores", "sanity pair", scores, note, shown=f"{relevant:.3f} vs {irrelevant:.3f}", passed=passed)

    def _add(
        self, section: str, name: str, value: Any, note: str = "", *, shown: str = "", passed: bool | None = None
    ) -> None:
        self._findings.append(Finding(section, name, value, shown or str(value), " ".join(note.split()), passed))


def size(memory: int) -> str:
    """Bytes as a person reads them."""
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**29 else f"{memory / 2**20:.1f} MiB"


def _published_shape(model: str) -> Shape | None:
    from qwen3_rerank_plugins.engine.shape import PUBLISHED

    return PUBLISHED.get(model)


def _obstacle(placement: Placement | None, checkpoint: Checkpoint | None, fits: bool | None) -> str | None:
    """Why the model is not loaded, if it is not: trying what does not fit may take the machine down."""
    if placement is None:
        return "it cannot be loaded here" if checkpoint else "there is no device to run on"
    if checkpoint is None:
        return "there is no checkpoint to load"
    return "the model would not fit in memory" if fits is False else None
