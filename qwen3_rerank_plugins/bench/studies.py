"""A study by name: prepare the subject, measure, hand out the record.

Comes in: `Study`, the user's words. Goes out: the record, as `record.py` writes it.
Must not know: terminals, pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer

from benchmarks.ablations import measure_savings
from benchmarks.alternatives import measure_choices
from benchmarks.concurrency import measure_together
from benchmarks.profile import measure_profile
from benchmarks.quantization import measure_quantization
from benchmarks.windows import measure_windows
from qwen3_rerank_plugins._records import make_record, note_circumstances
from qwen3_rerank_plugins.bench.baselines import make_baselines
from qwen3_rerank_plugins.bench.memory import measure_memory
from qwen3_rerank_plugins.bench.speed import OnStep, SpeedPlan, measure_speed
from qwen3_rerank_plugins.bench.subject import ShapeName, Subject, open_subject
from qwen3_rerank_plugins.bench.texts import RealText, read_passages
from qwen3_rerank_plugins.bench.workloads import RECIPES, ROUNDS, BenchWorkload, Size, draw_workload
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import Placement, choose_placement
from qwen3_rerank_plugins.engine.settings import Dtype, EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import SettingsError

StudyName = Literal["speed", "savings", "choices", "profile", "together", "memory", "quantization", "windows"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What to measure, and on what.

    Attributes:
        name: which study.
        engine: how our engine runs; its `model` is set to the subject.
        model: a real checkpoint; None makes one with random weights.
        shape, layers: of a random one.
        tokenizer: folder of a tokenizer for a random one; None takes the demo's.
        workloads, peers: names; none means all.
        size: of the workloads; "auto" is full on CUDA, short elsewhere.
        rounds: turns; None is the usual number of the study, or of each workload of speed.
        seed: of the texts.
        texts: reranking sets to draw from; none means the bundled passages.
    """

    name: StudyName
    engine: EngineSettings
    model: str | None = None
    shape: ShapeName = "0.6b"
    layers: int | None = None
    tokenizer: Path | None = None
    workloads: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    size: Size | Literal["auto"] = "auto"
    rounds: int | None = None
    seed: int = 0
    texts: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.workloads if name not in RECIPES]
        if unknown:
            raise SettingsError(f"There is no workload {unknown[0]!r}; there are {', '.join(RECIPES)}.")


def run_study(study: Study, tell: OnStep) -> dict[str, Any]:
    """Measure, and return the record.

    Args:
        study: what.
        tell: called before every step.
    """
    placement = choose_placement(dataclasses.replace(study.engine, quantization=None))
    tell("making the model" if study.model is None else "finding the model")
    with open_subject(study.model, study.shape, study.layers, placement.dtype, study.tokenizer) as subject:
        bench = _Bench(study, subject, placement, tell)
        circumstances = note_circumstances(subject.label, placement.device, placement.dtype)
        return make_record(study.name, circumstances, bench.measure[study.name]())


class _Bench:
    """A study's subject, its texts, and one method a study."""

    def __init__(self, study: Study, subject: Subject, placement: Placement, tell: OnStep) -> None:
        self._study, self._subject, self._placement, self._tell = study, subject, placement, tell
        self._settings = dataclasses.replace(study.engine, model=str(subject.folder), local_files_only=True)
        self._passages = read_passages(study.texts)
        tokenizer = Tokenizer.from_file(str(subject.folder / "tokenizer.json"))
        self._text = RealText(self._passages, tokenizer, study.seed)
        self.measure: dict[StudyName, Callable[[], Any]] = {
            "speed": self._speed,
            "savings": self._savings,
            "choices": self._choices,
            "profile": self._profile,
            "together": self._together,
            "memory": self._memory,
            "quantization": self._quantization,
            "windows": self._windows,
        }

    def _speed(self) -> Any:
        device, dtype = self._placement.device, self._placement.dtype
        installed = list(make_baselines(self._subject.folder, self._settings, device, dtype))
        missing = [name for name in self._study.peers if name not in installed]
        if missing:
            raise SettingsError(f"The peer {missing[0]!r} is not installed here; there are {', '.join(installed)}.")
        peers = [name for name in installed if name == "ours" or name in (self._study.peers or installed)]
        plan = SpeedPlan(
            workloads=self._study.workloads or tuple(RECIPES),
            peers=peers,
            size=self._size,
            rounds=self._study.rounds,
            seed=self._study.seed,
            passages=self._passages,
            texts=", ".join(file.parent.name + "/" + file.name for file in self._study.texts) or "bundled passages",
        )
        return measure_speed(plan, self._subject, self._settings, device, dtype, self._tell)

    def _savings(self) -> Any:
        checkpoint = find_checkpoint(self._settings)
        loaded = load_model(self._settings, checkpoint)
        budget = choose_budget(self._settings.max_batch_tokens, loaded)
        encoder = PromptEncoder(checkpoint.tokenizer_file)
        return measure_savings(self._workloads, loaded, encoder, budget, self._rounds, self._tell)

    def _choices(self) -> Any:
        checkpoint = find_checkpoint(self._settings)
        loaded = load_model(self._settings, checkpoint)
        other: Dtype = "bfloat16" if loaded.placement.dtype != torch.bfloat16 else "float16"
        encoder = PromptEncoder(checkpoint.tokenizer_file)
        asked = [request for workload in self._workloads for request in workload.requests]
        return measure_choices(
            [encoder.encode(build_prompt(request), request.max_length) for request in asked],
            loaded,
            load_model(dataclasses.replace(self._settings, dtype=other), checkpoint),
            encoder,
            choose_budget(self._settings.max_batch_tokens, loaded),
            self._rounds,
            self._tell,
        )

    def _profile(self) -> Any:
        checkpoint = find_checkpoint(self._settings)
        loaded = load_model(self._settings, checkpoint)
        budget = choose_budget(self._settings.max_batch_tokens, loaded)
        return measure_profile(self._workloads, loaded, PromptEncoder(checkpoint.tokenizer_file), budget, self._tell)

    def _together(self) -> Any:
        return measure_together(self._text, self._settings, self._rounds, self._tell)

    def _memory(self) -> Any:
        return measure_memory(self._subject, self._settings, self._tell)

    def _quantization(self) -> Any:
        pairs = [
            (request.query, document)
            for workload in self._workloads
            for request in workload.requests
            for document in request.documents
        ]
        return measure_quantization(
            self._subject.folder,
            self._subject.label,
            pairs,
            device=self._settings.device,
            dtype=self._settings.dtype,
            rounds=self._rounds,
            tell=self._tell,
        )

    def _windows(self) -> Any:
        return measure_windows(self._study.texts, self._settings, self._tell)

    @property
    def _rounds(self) -> int:
        return self._study.rounds or ROUNDS

    @property
    def _size(self) -> Size:
        if self._study.size != "auto":
            return self._study.size
        return "full" if self._placement.device.type == "cuda" else "short"

    @property
    def _workloads(self) -> list[BenchWorkload]:
        names = self._study.workloads or ("passages",)
        return [draw_workload(name, self._text, self._size) for name in names]
