"""Known scores: those that others have published, and those recorded from the bundled demo checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Literal

from pydantic import StrictFloat

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.comparison import TOLERANCES
from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.recording import read_recording
from qwen3_rerank_plugins.verify.strict_json import StrictModel, read_json

Measure = Literal["log-odds", "probability"]
Confidence = Literal["high", "medium", "low"]

PUBLISHED_TABLE = Path(__file__).with_name("published.json")
DEMO_TABLE = Path(__file__).with_name("demo.json")
_REINSTALL = "Install this package again."


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A question with the known scores of its documents.

    Attributes:
        name: the case's name, for tables and messages.
        model: the model that the scores belong to.
        question: the question.
        measure: the unit of `expected` and `tolerances`. A probability that was published with few digits is compared
            as a probability; all other scores are compared as log-odds.
        expected: one score per document.
        tolerances: allowed difference, by the dtype of the weights that run here.
        dtype: dtype in which the scores were computed.
        confidence: how certain model, prompt and texts are. Cases with low confidence are shown and not judged.
        source: who published the scores.
    """

    name: str
    model: str
    question: Question
    measure: Measure
    expected: tuple[float, ...]
    tolerances: dict[str, float]
    dtype: str
    confidence: Confidence
    source: str

    @property
    def judged(self) -> bool:
        """Whether a difference makes the case fail."""
        return self.confidence != "low"


class _Tolerance(StrictModel):
    float32: StrictFloat
    bfloat16: StrictFloat
    float16: StrictFloat


class _Judged(StrictModel):
    measure: Measure
    tolerance: _Tolerance


class _PublishedCase(StrictModel):
    name: str
    model: str
    dtype: str
    confidence: Confidence
    source: str
    instruction: str
    query: str
    documents: tuple[str, ...]
    log_odds: tuple[StrictFloat, ...] = ()
    probabilities: tuple[StrictFloat, ...] = ()
    judged: _Judged


class _PublishedTable(StrictModel):
    format: Literal["qwen3-rerank published scores"]
    version: Literal[1]
    cases: tuple[_PublishedCase, ...]


@functools.cache
def published_cases() -> tuple[Case, ...]:
    """Return all cases of the published Qwen3-Reranker weights, of every size."""
    content = read_json(PUBLISHED_TABLE, "the table of published scores")
    table = _PublishedTable.from_json(content, PUBLISHED_TABLE.name, _REINSTALL)
    return tuple(_to_case(case, f"{PUBLISHED_TABLE.name}, cases {n}") for n, case in enumerate(table.cases, 1))


def built_in_questions() -> tuple[Question, ...]:
    """Return the questions of all published cases. They are recorded if no others are given."""
    return tuple(case.question for case in published_cases())


@functools.cache
def demo_cases() -> tuple[Case, ...]:
    """Return the questions of the published cases with the scores that were recorded from the demo checkpoint."""
    recording = read_recording(DEMO_TABLE)
    return tuple(
        Case(
            name=f"demo-{number}",
            model=DEMO,
            question=recorded.question,
            measure="log-odds",
            expected=recorded.log_odds,
            tolerances=dict(TOLERANCES),
            dtype=recording.provenance.dtype,
            confidence="high",
            source="recorded from the bundled checkpoint",
        )
        for number, recorded in enumerate(recording.questions, 1)
    )


def cases_for(checkpoint: Checkpoint) -> tuple[Case, ...]:
    """Return the cases of a checkpoint. It is identified by its sizes, so a local folder works like a hub ID.

    Raises:
        RequestError: no cases are known for these sizes.
    """
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape

    try:
        shape = Shape.from_config(checkpoint.config)
    except KeyError:  # the config omits a size that has the default of transformers; no published config does
        shape = None
    for name, published in PUBLISHED.items():
        if shape == published:
            return tuple(case for case in published_cases() if case.model == name)
    if shape == Shape.from_config(find_checkpoint(EngineSettings(model=DEMO)).config):
        return demo_cases()
    raise RequestError(
        f"No scores are published for a model with the sizes of {checkpoint.name!r}. Record its scores with --record "
        "FILE, and compare with them by --check FILE after every upgrade."
    )


def _to_case(case: _PublishedCase, location: str) -> Case:
    if len(case.model_fields_set & {"log_odds", "probabilities"}) != 1:
        raise RequestError(f"{location} must have either log_odds or probabilities. {_REINSTALL}")
    measure = case.judged.measure
    expected = case.log_odds or case.probabilities
    if len(expected) != len(case.documents):
        raise RequestError(f"{location} must have one score per document. {_REINSTALL}")
    if case.probabilities and measure == "log-odds":
        expected = tuple(math.log(p) - math.log1p(-p) for p in expected)
    return Case(
        name=case.name,
        model=case.model,
        question=Question(case.query, case.documents, case.instruction, location),
        measure=measure,
        expected=expected,
        tolerances=case.judged.tolerance.model_dump(),
        dtype=case.dtype,
        confidence=case.confidence,
        source=case.source,
    )
