"""What `doctor` finds out, station by station; nothing is downloaded, and one station's failure stops no other.

Comes in: a reranker that has loaded nothing. Goes out: `Finding`s.
Must not know: tables, colours, exit codes.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.cli.loading import quiet_libraries
from qwen3_rerank_plugins.cli.memory_forecast import fitting_sizes, size
from qwen3_rerank_plugins.data.sanity import IRRELEVANT, QUESTION, RELEVANT
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, DeviceMemoryError, RerankError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

if TYPE_CHECKING:
    from qwen3_rerank_plugins.engine.loading.device_map import DeviceMap
    from qwen3_rerank_plugins.engine.loading.placement import Placement
    from qwen3_rerank_plugins.engine.loading.shape import Shape
    from qwen3_rerank_plugins.engine.settings import EngineSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out.

    Attributes:
        section, name: what it is about; of several devices, each has sections of its own.
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
        each = list(dict.fromkeys(self._settings.replicas))
        placements = [self._examine_placement(settings) for settings in each]
        checkpoint = self._examine_checkpoint()
        if checkpoint and all(placements):
            placements = self._examine_kind(each, checkpoint)
        shape = self._examine_shape(checkpoint) if any(placements) else None
        fits = True
        for settings, placement in zip(each, placements, strict=False):  # none where it cannot be loaded
            if placement and checkpoint:
                self._examine_threads(settings, placement, checkpoint)
            if placement and shape:
                fits &= self._examine_memory(settings, placement, shape, checkpoint)
        self._examine_scores(_obstacle(placements, checkpoint, fits))
        return self._findings

    def _examine_software(self) -> None:
        self._add("software", "python", platform.python_version())
        self._add("software", "this package", __version__)
        for package in ("torch", "transformers", "tokenizers"):
            try:
                self._add("software", package, importlib.metadata.version(package))
            except importlib.metadata.PackageNotFoundError:
                self._add("software", package, None, "install this package again", shown="missing", passed=False)

    def _examine_placement(self, settings: EngineSettings) -> Placement | None:
        section = self._section("machine", settings.device)
        try:
            import torch

            from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name, models_on_device

            if settings == self._settings.replicas[0]:
                self._add("software", "cuda", torch.version.cuda, shown=torch.version.cuda or "none in this torch")
            placement = choose_placement(settings)
        except (RerankError, ImportError, OSError) as error:  # a broken installation of torch shows as any of them
            self._add(section, "device", None, str(error), shown="unusable", passed=False)
            return None
        device = placement.device
        hardware = f", a {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
        replicas = models_on_device(self._settings, settings)
        together = f", {replicas} replicas" if replicas > 1 else ""
        self._add(section, "device", str(device), f"{placement.device_reason}{hardware}{together}", passed=True)
        self._add(section, "dtype", dtype_name(placement.dtype), placement.dtype_reason)
        self._add(section, "attention", placement.attention.name, placement.attention.reason)
        quantization = placement.quantization
        self._add(section, "quantization", quantization.name, quantization.reason, shown=quantization.name or "none")
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

    def _examine_kind(self, each: Sequence[EngineSettings], checkpoint: Checkpoint) -> list[Placement | None]:
        """What has to be done to its weights as they are loaded; returns how they run then, nothing if they cannot."""
        from qwen3_rerank_plugins.engine.loading.lora_merge import check_peft
        from qwen3_rerank_plugins.engine.loading.placement import choose_placement

        try:
            placements = [choose_placement(settings, checkpoint.quantization) for settings in each]
            if checkpoint.adapter:
                self._add("model", "adapter", checkpoint.adapter.base, "its base, into which it is merged at load")
                check_peft()
        except (RerankError, ImportError) as error:
            self._add("model", "loading", None, str(error), shown="impossible", passed=False)
            return []
        if checkpoint.quantization:
            self._add("model", "stored as", checkpoint.quantization.method, placements[0].quantization.reason)
        return [*placements]

    def _examine_shape(self, checkpoint: Checkpoint | None) -> Shape | None:
        from qwen3_rerank_plugins.engine.loading.shape import POSITIONS, Shape

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

    def _examine_threads(self, settings: EngineSettings, placement: Placement, checkpoint: Checkpoint) -> None:
        from qwen3_rerank_plugins.engine.loading.cpu_threads import threads_for
        from qwen3_rerank_plugins.engine.loading.placement import models_on_device

        threads = threads_for(settings.threads, checkpoint.config, models_on_device(self._settings, settings))
        note = threads.reason if placement.device.type == "cpu" else f"{threads.reason}; for loading only"
        self._add(self._section("machine", settings.device), "threads", threads.count, note)

    def _examine_map(self, placement: Placement, checkpoint: Checkpoint) -> DeviceMap | None:
        from qwen3_rerank_plugins.engine.loading.device_map import choose_map

        try:
            device_map = choose_map(checkpoint.folder, placement.dtype)
        except DeviceMemoryError as error:
            self._add("memory", "device map", None, str(error), shown="impossible", passed=False)
            return None
        places = [str(device) for device in device_map.weights]
        self._add("memory", "device map", places, device_map.describe(), shown=", ".join(places))
        return device_map

    def _examine_memory(
        self, settings: EngineSettings, placement: Placement, shape: Shape, checkpoint: Checkpoint | None
    ) -> bool:
        """Returns whether the model fits."""
        from qwen3_rerank_plugins.cli.memory_forecast import predict_needs
        from qwen3_rerank_plugins.engine.loading.placement import models_on_device

        device_map = None
        if settings.device_map and checkpoint:
            device_map = self._examine_map(placement, checkpoint)
            if device_map is None:
                return False
        reason = "the automatic budget" if settings.max_batch_tokens == "auto" else "as asked for"
        merged = checkpoint.adapter.weights_file.stat().st_size if checkpoint and checkpoint.adapter else 0
        models = models_on_device(self._settings, settings)
        needs = predict_needs(settings, placement, shape, models, device_map, merged)
        for need in needs:
            section = self._section("memory", str(need.device), len(needs) > 1)
            times = f", {need.models} times" if need.models > 1 else ""
            self._add(section, "weights", need.weights, times.removeprefix(", "), shown=size(need.weights))
            note = f"{need.tokens:,} tokens, {reason}{times}"
            self._add(section, "largest pass", need.largest_pass, note, shown=size(need.largest_pass))
            self._add(section, "free", need.free, shown=size(need.free))
            others = ", ".join(fitting_sizes(need, placement)) or "none"
            note = "fits" if need.fits else f"more than is free; published sizes that fit here: {others}"
            self._add(section, "memory needed", need.at_most, note, shown=size(need.at_most), passed=need.fits)
        return all(need.fits for need in needs)

    def _examine_scores(self, obstacle: str | None) -> None:
        """One pair that any Qwen3-Reranker tells apart, with a probability on either side of one half."""
        if obstacle:
            self._add("scores", "sanity pair", None, obstacle, shown="not tried")
            return
        try:
            with quiet_libraries():
                self._reranker.warmup()  # on every device, where the pair goes to one
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

    def _section(self, name: str, device: str, several: bool = False) -> str:
        return f"{name} {device}" if several or len(set(self._settings.replicas)) > 1 else name

    def _add(
        self, section: str, name: str, value: Any, note: str = "", *, shown: str = "", passed: bool | None = None
    ) -> None:
        self._findings.append(Finding(section, name, value, shown or str(value), " ".join(note.split()), passed))


def _published_shape(model: str) -> Shape | None:
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

    return PUBLISHED.get(model)


def _obstacle(placements: Sequence[Placement | None], checkpoint: Checkpoint | None, fits: bool) -> str | None:
    """Why the model is not loaded, if it is not: trying what does not fit may take the machine down."""
    if checkpoint and not placements:
        return "it cannot be loaded here"
    if not all(placements):
        return "not every device is there" if any(placements) else "there is no device to run on"
    if checkpoint is None:
        return "there is no checkpoint to load"
    return None if fits else "the model would not fit in memory"
