"""What each model is known to answer: figures that others have published, and those of the bundled demo checkpoint.

Comes in: the two tables beside this file, and a checkpoint. Goes out: the `Case`s that are about its weights.
Must not know: what came out here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Literal, cast, get_args

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.comparison import TOLERANCES
from qwen3_rerank_plugins.verify.json_fields import Fields, read_json
from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.recording import read_recording

Measure = Literal["log-odds", "probability"]
Confidence = Literal["high", "medium", "low"]

PUBLISHED_TABLE = Path(__file__).with_name("published.json")
DEMO_TABLE = Path(__file__).with_name("demo.json")
FORMAT, VERSION = "qwen3-rerank published scores", 1


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A question, and what the documents are known to get.

    Attributes:
        name: for tables and messages.
        model: whose figures they are.
        question: what is asked.
        measure: what is compared. Log-odds, wherever the figures hold them exactly enough; a probability that was
            printed with few digits is compared as such.
        expected: one figure a document, in that measure.
        tolerances: how far each may be off, in that measure, by the dtype of the weights that run here.
        dtype: the number format that the figures were made in.
        confidence: how sure it is that model, prompt and texts were these. What is low is shown and not judged.
        source: who published the figures.
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
        """Whether a difference means anything."""
        return self.confidence != "low"


@functools.cache
def published_cases() -> tuple[Case, ...]:
    """All cases about the weights that Qwen published, whatever their size."""
    fields = Fields(read_json(PUBLISHED_TABLE, "the table of published scores"), PUBLISHED_TABLE.name)
    if (fields.text("format"), fields.whole_number("version")) != (FORMAT, VERSION):
        raise RequestError(f"{PUBLISHED_TABLE} is of another version. Install this package again.")
    cases = tuple(map(_read_case, fields.rows("cases")))
    fields.end()
    return cases


def built_in_questions() -> tuple[Question, ...]:
    """Those of all published cases, for who records scores without texts of their own."""
    return tuple(case.question for case in published_cases())


@functools.cache
def demo_cases() -> tuple[Case, ...]:
    """The same questions, with what the bundled checkpoint answered when it was recorded."""
    recording = read_recording(DEMO_TABLE)
    return tuple(
        Case(
            name=f"demo-{number}",
            model=DEMO,
            question=recorded.question,
            measure="log-odds",
            expected=recorded.log_odds,
            tolerances=dict(TOLERANCES),
            dtype=recording.made.dtype,
            confidence="high",
            source="recorded from the bundled checkpoint",
        )
        for number, recorded in enumerate(recording.questions, 1)
    )


def cases_for(checkpoint: Checkpoint) -> tuple[Case, ...]:
    """The cases about a checkpoint, which is known by its sizes, so that a local folder counts like a hub id.

    Raises:
        RequestError: there are none for its sizes.
    """
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape

    try:
        shape = Shape.from_config(checkpoint.config)
    except KeyError:  # left out where it has the default of transformers, which no published config does
        shape = None
    for name, published in PUBLISHED.items():
        if shape == published:
            return tuple(case for case in published_cases() if case.model == name)
    if shape == Shape.from_config(find_checkpoint(EngineSettings(model=DEMO)).config):
        return demo_cases()
    raise RequestError(
        f"No scores are published for a model of the sizes of {checkpoint.name!r}. Record its own with --record FILE, "
        "and compare with them by --check FILE after every upgrade."
    )


def _read_case(fields: Fields) -> Case:
    question = Question(fields.text("query"), fields.texts("documents"), fields.text("instruction"), fields.location)
    judged = fields.section("judged")
    measure = cast(Measure, _one_of(judged, "measure", get_args(Measure)))
    tolerances = judged.section("tolerance")
    case = Case(
        name=fields.text("name"),
        model=fields.text("model"),
        question=question,
        measure=measure,
        expected=_read_expected(fields, measure),
        tolerances={dtype: tolerances.number(dtype) for dtype in TOLERANCES},
        dtype=fields.text("dtype"),
        confidence=cast(Confidence, _one_of(fields, "confidence", get_args(Confidence))),
        source=fields.text("source"),
    )
    for part in (tolerances, judged, fields):
        part.end()
    if len(case.expected) != len(question.documents):
        raise RequestError(f"{fields.location} has not one figure for each document.")
    return case


def _read_expected(fields: Fields, measure: Measure) -> tuple[float, ...]:
    """The figures as published, in the measure that they are judged by."""
    if fields.has("log_odds"):
        return fields.numbers("log_odds")
    probabilities = fields.numbers("probabilities")
    return probabilities if measure == "probability" else tuple(map(_log_odds, probabilities))


def _log_odds(probability: float) -> float:
    """The inverse of the sigmoid."""
    return math.log(probability) - math.log1p(-probability)


def _one_of(fields: Fields, name: str, allowed: tuple[str, ...]) -> str:
    found = fields.text(name)
    if found not in allowed:
        raise RequestError(f"{fields.location}: {name!r} must be one of {', '.join(allowed)}, got {found!r}.")
    return found
