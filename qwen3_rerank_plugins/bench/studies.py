"""Run a study: prepare the model and the texts, measure, and return the record.

`python -m benchmarks` gives its studies to `run_study`; the wheel has those of speed and memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from qwen3_rerank_plugins._records.record import make_record, note_circumstances
from qwen3_rerank_plugins.bench.baselines import make_baselines
from qwen3_rerank_plugins.bench.memory import measure_memory
from qwen3_rerank_plugins.bench.speed import OnStep, SpeedPlan, SpeedResults, measure_speed
from qwen3_rerank_plugins.bench.subject import ShapeName, Subject, open_subject
from qwen3_rerank_plugins.bench.texts import RealText, read_passages
from qwen3_rerank_plugins.bench.workloads import RECIPES, ROUNDS, BenchWorkload, Size, draw_workload
from qwen3_rerank_plugins.engine.kernels.product_race import race_products
from qwen3_rerank_plugins.engine.loading.placement import Placement, choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What to measure, and on what.

    Attributes:
        name: name of the study.
        engine: settings of our engine; its `model` is replaced by the subject.
        model: a real checkpoint; None makes one with random weights.
        shape: the published shape of a random model.
        layers: number of layers of a random model; None is all.
        tokenizer: folder of a tokenizer for a random model; None takes the demo's.
        workloads: names of workloads; none means all for speed, and "passages" for other studies.
        baselines: names of baselines for the study of speed; none means all that are installed.
        size: size of the workloads; "auto" is full on CUDA and short elsewhere.
        rounds: number of rounds; None is the default of the study, or of each workload for speed.
        seed: random seed for the texts.
        texts: reranking sets to draw texts from; none means the bundled passages.
    """

    name: str
    engine: EngineSettings
    model: str | None = None
    shape: ShapeName = "0.6b"
    layers: int | None = None
    tokenizer: Path | None = None
    workloads: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    size: Size | Literal["auto"] = "auto"
    rounds: int | None = None
    seed: int = 0
    texts: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.workloads if name not in RECIPES]
        if unknown:
            raise SettingsError(f"There is no workload {unknown[0]!r}; there are {', '.join(RECIPES)}.")


class PreparedStudy:
    """A study with its model and texts, from which measurements take what they need.

    Args:
        study: what to measure.
        subject: the model.
        placement: where it runs, without quantization.
        tell: called before every step.

    Attributes:
        settings: the engine's settings for the subject.
        passages: source of the texts.
        text: supply of texts.
        rounds: number of rounds.
        size: size of the workloads.
    """

    def __init__(self, study: Study, subject: Subject, placement: Placement, tell: OnStep) -> None:
        self.study, self.subject, self.placement, self.tell = study, subject, placement, tell
        self.settings = dataclasses.replace(study.engine, model=str(subject.folder), local_files_only=True)
        self.passages = read_passages(study.texts)
        self.text = RealText(self.passages, Tokenizer.from_file(str(subject.folder / "tokenizer.json")), study.seed)
        self.rounds = study.rounds or ROUNDS
        automatic: Size = "full" if placement.device.type == "cuda" else "short"
        self.size: Size = automatic if study.size == "auto" else study.size

    @functools.cached_property
    def workloads(self) -> list[BenchWorkload]:
        """The workloads that were asked for, or "passages"."""
        return [draw_workload(name, self.text, self.size) for name in self.study.workloads or ("passages",)]


Measurement = Callable[[PreparedStudy], Any]
"""Return the results of a study, as a dataclass."""


def measure_speed_of(prepared: PreparedStudy) -> SpeedResults:
    """Run the study of speed with the baselines that were asked for."""
    study, settings = prepared.study, prepared.settings
    device, dtype = prepared.placement.device, prepared.placement.dtype
    installed = list(make_baselines(prepared.subject.folder, settings, device, dtype))
    missing = [name for name in study.baselines if name not in installed]
    if missing:
        raise SettingsError(f"The baseline {missing[0]!r} is not installed here; there are {', '.join(installed)}.")
    plan = SpeedPlan(
        workloads=study.workloads or tuple(RECIPES),
        baselines=[name for name in installed if name != "ours" and name in (study.baselines or installed)],
        size=prepared.size,
        rounds=study.rounds,
        seed=study.seed,
        passages=prepared.passages,
        texts=", ".join(f"{file.parent.name}/{file.name}" for file in study.texts) or "bundled passages",
    )
    return measure_speed(plan, prepared.subject, settings, device, dtype, prepared.tell)


MEASUREMENTS: Mapping[str, Measurement] = {
    "speed": measure_speed_of,
    "memory": lambda prepared: measure_memory(prepared.subject, prepared.settings, prepared.tell),
}


def run_study(study: Study, tell: OnStep, measurements: Mapping[str, Measurement] = MEASUREMENTS) -> dict[str, Any]:
    """Measure, and return the record.

    Args:
        study: what to measure.
        tell: called before every step.
        measurements: the studies by name.
    """
    placement = choose_placement(dataclasses.replace(study.engine, quantization=None))
    tell("making the model" if study.model is None else "finding the model")
    with open_subject(study.model, study.shape, study.layers, placement.dtype, study.tokenizer) as subject:
        prepared = PreparedStudy(study, subject, placement, tell)
        sides = subject.shape.hidden, subject.shape.intermediate
        rates = race_products(*sides).by_name if placement.device.type == "cpu" else {}
        circumstances = note_circumstances(subject.label, placement.device, placement.dtype, gemm_rates=rates)
        return make_record(study.name, circumstances, measurements[study.name](prepared))
