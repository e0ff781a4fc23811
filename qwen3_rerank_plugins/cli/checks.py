"""The checks of `doctor`. They download nothing, and a failed check does not stop the others."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.cli.loading import quiet_libraries
from qwen3_rerank_plugins.cli.memory_forecast import fitting_sizes, predict_needs, size
from qwen3_rerank_plugins.data.sanity import IRRELEVANT, QUESTION, RELEVANT
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, DeviceMemoryError, RerankError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

if TYPE_CHECKING:
    from qwen3_rerank_plugins.engine.loading.placement import Placement
    from qwen3_rerank_plugins.engine.loading.shape import Shape
    from qwen3_rerank_plugins.engine.settings import EngineSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        section: group of the check; with several devices, each has its sections.
        name: what was checked.
        value: result for programs; memory is in bytes.
        shown: result for people.
        note: the reason, or what to do.
        passed: None if the finding is for information only.
    """

    section: str
    name: str
    value: Any
    shown: str
    note: str = ""
    passed: bool | None = None


class Checkup:
    """Checks this machine for one model.

    Args:
        reranker: the model and its settings; it must not have loaded anything yet.
    """

    def __init__(self, reranker: Qwen3Reranker) -> None:
        self._reranker = reranker
        self._settings = reranker.settings
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        """Return all findings: software, devices, checkpoint, memory, scores."""
        self._examine_software()
        each = list(dict.fromkeys(self._settings.replicas))
        local = self._find_checkpoint()
        files = local if isinstance(local, Checkpoint) else None
        placements = [self._examine_placement(settings, files) for settings in each]
        checkpoint = self._examine_checkpoint(local)
        if checkpoint and all(placements):
            placements = self._examine_loading(each, checkpoint)
        shape = self._examine_shape(checkpoint) if any(placements) else None
        fits = True
        for settings, placement in zip(each, placements, strict=False):  # no placements if it cannot be loaded
            if placement and checkpoint:
                self._examine_threads(settings, placement, checkpoint)
            if placement and shape:
                self._examine_kernels(settings, placement, shape)
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

    def _find_checkpoint(self) -> Checkpoint | RerankError:
        """Return the files of the model, or what is wrong with them."""
        try:
            return find_checkpoint(self._settings)
        except RerankError as error:
            return error

    def _examine_placement(self, settings: EngineSettings, checkpoint: Checkpoint | None) -> Placement | None:
        section = self._section("machine", settings.device)
        try:
            import torch

            from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name, models_on_device

            if settings == self._settings.replicas[0]:
                self._add("software", "cuda", torch.version.cuda, shown=torch.version.cuda or "none in this torch")
            try:
                placement = choose_placement(settings, checkpoint)
            except RerankError:  # the checkpoint may be the reason, and has checks of its own
                placement = choose_placement(settings)
        except (RerankError, ImportError, OSError) as error:  # a broken torch raises any of these
            self._add(section, "device", None, str(error), shown="unusable", passed=False)
            return None
        device = placement.device
        hardware = f", a {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
        replicas = models_on_device(self._settings, settings)
        copies = f", {replicas} replicas" if replicas > 1 else ""
        self._add(section, "device", str(device), f"{placement.device_reason}{hardware}{copies}", passed=True)
        self._add(section, "dtype", dtype_name(placement.dtype), placement.dtype_reason)
        self._add(section, "kernels", placement.kernels.name, placement.kernels.reason)
        self._add(section, "attention", placement.attention.name, placement.attention.reason)
        quantization = placement.quantization
        self._add(section, "quantization", quantization.name, quantization.reason, shown=quantization.name or "none")
        return placement

    def _examine_checkpoint(self, found: Checkpoint | RerankError) -> Checkpoint | None:
        self._add("model", "template", template_hash(), "hash of the prompt template")
        try:
            if isinstance(found, RerankError):
                raise found
            checkpoint = found
            encoder = PromptEncoder(checkpoint.tokenizer_file)
        except CheckpointNotFoundError as error:
            from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

            advice = f"the first use downloads it, and so does: hf download {self._settings.model}"
            note = advice if self._settings.model in PUBLISHED else str(error)
            self._add("model", "checkpoint", None, note, shown="not here", passed=False)
            return None
        except RerankError as error:
            self._add("model", "checkpoint", None, str(error), shown="unusable", passed=False)
            return None
        origin = "bundled" if checkpoint.name == DEMO else f"commit {checkpoint.commit or 'none, a local folder'}"
        self._add("model", "checkpoint", str(checkpoint.folder), origin, shown="found", passed=True)
        ids = {"yes": encoder.yes_id, "no": encoder.no_id}
        self._add("model", "answers", ids, "one token each", shown=f"yes {ids['yes']}, no {ids['no']}", passed=True)
        return checkpoint

    def _examine_loading(self, each: Sequence[EngineSettings], checkpoint: Checkpoint) -> list[Placement | None]:
        """Return the placements for the checkpoint's adapter and quantization; none if it cannot be loaded."""
        from qwen3_rerank_plugins.engine.loading.lora_merge import check_peft
        from qwen3_rerank_plugins.engine.loading.placement import choose_placement

        try:
            placements = [choose_placement(settings, checkpoint) for settings in each]
            if checkpoint.adapter:
                self._add("model", "adapter", checkpoint.adapter.base, "its base model; it is merged at load")
                check_peft()
        except (RerankError, ImportError) as error:
            self._add("model", "loading", None, str(error), shown="impossible", passed=False)
            return []
        if checkpoint.quantization:
            self._add("model", "stored as", checkpoint.quantization.method, placements[0].quantization.reason)
        return [*placements]

    def _examine_shape(self, checkpoint: Checkpoint | None) -> Shape | None:
        from qwen3_rerank_plugins.engine.loading.shape import POSITIONS, PUBLISHED, Shape

        try:
            shape = Shape.from_config(checkpoint.config) if checkpoint else PUBLISHED.get(self._settings.model)
        except KeyError:  # a config may omit values that are the defaults of transformers
            shape = None
        if shape is None:
            self._add("model", "size", None, "only the model's full config.json has it", shown="unknown")
            return None
        self._add("model", "size", shape.parameters, "parameters", shown=f"{shape.parameters:,}")
        if shape.score_rows:
            self._add("model", "output", shape.score_rows, "a classifier", shown=f"{shape.score_rows} score row(s)")
        else:
            matrix = "the output shares the input's matrix" if shape.tied else "the output has a separate matrix"
            self._add("model", "embeddings", "tied" if shape.tied else "untied", matrix)
        positions = checkpoint.positions if checkpoint else POSITIONS
        self._add("model", "positions", positions, "tokens in the longest prompt", shown=f"{positions:,}")
        return shape

    def _examine_kernels(self, settings: EngineSettings, placement: Placement, shape: Shape) -> None:
        """Run the self-check that loading runs. A kernel that fails it is replaced, so the model works all the same."""
        from qwen3_rerank_plugins.engine.loading.kernel_check import check_kernels

        section = self._section("machine", settings.device)
        for check in check_kernels(placement, shape, placement.device):
            note = f"differs from plain torch by {check.difference:.1e}, at most {check.bound:.1e}"
            failed = f"{check}; plain torch runs in its place"
            shown = "right" if check.passed else "replaced"
            self._add(section, check.kernel, check.passed, note if check.passed else failed, shown=shown)

    def _examine_threads(self, settings: EngineSettings, placement: Placement, checkpoint: Checkpoint) -> None:
        from qwen3_rerank_plugins.engine.loading.cpu_threads import threads_for
        from qwen3_rerank_plugins.engine.loading.placement import models_on_device

        threads = threads_for(settings.threads, checkpoint.config, models_on_device(self._settings, settings))
        note = threads.reason if placement.device.type == "cpu" else f"{threads.reason}; for loading only"
        self._add(self._section("machine", settings.device), "threads", threads.count, note)

    def _examine_memory(
        self, settings: EngineSettings, placement: Placement, shape: Shape, checkpoint: Checkpoint | None
    ) -> bool:
        """Return whether the model fits."""
        from qwen3_rerank_plugins.engine.loading.device_map import choose_map
        from qwen3_rerank_plugins.engine.loading.placement import models_on_device

        device_map = None
        if settings.device_map and checkpoint:
            try:
                device_map = choose_map(checkpoint.folder, placement.dtype)
            except DeviceMemoryError as error:
                self._add("memory", "device map", None, str(error), shown="impossible", passed=False)
                return False
            devices = [str(device) for device in device_map.weights]
            self._add("memory", "device map", devices, device_map.describe(), shown=", ".join(devices))
        reason = "the automatic budget" if settings.max_batch_tokens == "auto" else "as asked for"
        merged = checkpoint.adapter.weights_file.stat().st_size if checkpoint and checkpoint.adapter else 0
        models = models_on_device(self._settings, settings)
        needs = predict_needs(settings, placement, shape, models, device_map, merged)
        for need in needs:
            section = self._section("memory", str(need.device), len(needs) > 1)
            times = f", {need.models} times" if need.models > 1 else ""
            self._add(section, "weights", need.weights, times.removeprefix(", "), shown=size(need.weights))
            note = f"{need.tokens:,} tokens, {reason}{times}"
            self._add(section, "largest pass", need.largest_batch, note, shown=size(need.largest_batch))
            self._add(section, "free", need.free, shown=size(need.free))
            others = ", ".join(fitting_sizes(need, placement)) or "none"
            note = "fits" if need.fits else f"more than is free; published sizes that fit here: {others}"
            self._add(section, "memory needed", need.at_most, note, shown=size(need.at_most), passed=need.fits)
        return all(need.fits for need in needs)

    def _examine_scores(self, obstacle: str | None) -> None:
        """Score two documents that any Qwen3-Reranker tells apart, with probabilities above and below 0.5."""
        if obstacle:
            self._add("scores", "sanity pair", None, obstacle, shown="not tried")
            return
        try:
            with quiet_libraries():
                self._reranker.warmup()  # loads on every device; the pair is scored on one
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


def _obstacle(placements: Sequence[Placement | None], checkpoint: Checkpoint | None, fits: bool) -> str | None:
    """Return why the model must not be loaded, if so: loading a model that does not fit may crash the machine."""
    if checkpoint and not placements:
        return "it cannot be loaded here"
    if not all(placements):
        return "not every device is there" if any(placements) else "there is no device to run on"
    if checkpoint is None:
        return "there is no checkpoint to load"
    return None if fits else "the model would not fit in memory"
