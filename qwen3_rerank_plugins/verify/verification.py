"""Verify known scores, record the scores of a model, and check recorded scores again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.reranker import Qwen3Reranker
from qwen3_rerank_plugins.verify.cases import Case, built_in_questions, cases_for
from qwen3_rerank_plugins.verify.comparison import TOLERANCES, Comparison
from qwen3_rerank_plugins.verify.provenance import Change, Provenance, collect_provenance, list_changes
from qwen3_rerank_plugins.verify.questions import OnProgress, Question, score_questions
from qwen3_rerank_plugins.verify.recording import RecordedQuestion, Recording


@dataclasses.dataclass(frozen=True, slots=True)
class CaseVerdict:
    """A case and its comparison, both in the case's measure."""

    case: Case
    comparison: Comparison

    @property
    def passed(self) -> bool | None:
        """Whether the case passed; None for a case that is shown for information only."""
        return self.comparison.passed if self.case.judged else None


@dataclasses.dataclass(frozen=True, slots=True)
class Recheck:
    """A recording compared with the scores of today.

    Attributes:
        recording: the expected scores.
        provenance: the provenance of today's scores.
        tolerance: allowed difference of log-odds.
        comparisons: one per question, in log-odds.
    """

    recording: Recording
    provenance: Provenance
    tolerance: float
    comparisons: tuple[Comparison, ...]

    @property
    def changes(self) -> list[Change]:
        """The fields of the provenance that have changed since the recording."""
        return list_changes(self.recording.provenance, self.provenance)

    @property
    def passed(self) -> bool:
        """Whether every question passed."""
        return all(comparison.passed for comparison in self.comparisons)


def verify(
    reranker: Qwen3Reranker, cases: Sequence[Case] | None = None, on_progress: OnProgress = lambda documents: None
) -> list[CaseVerdict]:
    """Compare a model's scores with the known scores of its weights.

    Args:
        reranker: a reranker with published weights or the demo checkpoint.
        cases: the cases to score; None selects them by the sizes of the model.
        on_progress: called with the number of documents that were just scored.

    Raises:
        RequestError: no scores are known for such a model, or the reranker quantizes its weights.
        CheckpointError, ScoringError: as `Qwen3Reranker.rank`.
    """
    check_quantization(reranker)
    if cases is None:
        cases = cases_for(find_checkpoint(reranker.settings))
    found = score_questions(reranker, [case.question for case in cases], on_progress)
    dtype = collect_provenance(reranker).dtype
    return [_judge(case, log_odds, dtype) for case, log_odds in zip(cases, found, strict=True)]


def record(
    reranker: Qwen3Reranker,
    questions: Sequence[Question] | None = None,
    on_progress: OnProgress = lambda documents: None,
) -> Recording:
    """Score questions and return the scores with their provenance.

    Args:
        reranker: a reranker whose model runs on this machine.
        questions: the questions; None selects those of the published cases.
        on_progress: called with the number of documents that were just scored.

    Raises:
        RequestError: the questions have no documents, or one of them cannot be ranked.
        CheckpointError, ScoringError: as `Qwen3Reranker.rank`.
    """
    if questions is None:
        questions = built_in_questions()
    found = score_questions(reranker, questions, on_progress)
    recorded = tuple(RecordedQuestion(question, scores) for question, scores in zip(questions, found, strict=True))
    return Recording(collect_provenance(reranker), recorded)


def check(
    reranker: Qwen3Reranker,
    recording: Recording,
    tolerance: float | None = None,
    on_progress: OnProgress = lambda documents: None,
) -> Recheck:
    """Score the recorded questions again and compare.

    Args:
        reranker: the reranker to check. Its settings may differ from those of the recording.
        recording: the expected scores.
        tolerance: allowed difference of log-odds; None selects it by dtype. If the dtype has changed, the larger
            tolerance applies.
        on_progress: called with the number of documents that were just scored.

    Raises:
        RerankError: as `record`.
    """
    if tolerance is not None and not tolerance >= 0:  # also refuses NaN
        raise RequestError(f"tolerance must be a number of at least 0, got {tolerance!r}.")
    found = score_questions(reranker, [recorded.question for recorded in recording.questions], on_progress)
    provenance = collect_provenance(reranker)
    if tolerance is None:
        dtypes = (recording.provenance.dtype, provenance.dtype)
        # an unknown dtype gets the tolerance of 16 bits
        tolerance = max(TOLERANCES.get(dtype, TOLERANCES["bfloat16"]) for dtype in dtypes)
    comparisons = (
        Comparison(recorded.log_odds, log_odds, tolerance)
        for recorded, log_odds in zip(recording.questions, found, strict=True)
    )
    return Recheck(recording, provenance, tolerance, tuple(comparisons))


def check_quantization(reranker: Qwen3Reranker) -> None:
    """Refuse a reranker that quantizes its weights, because the published scores are those of unquantized weights."""
    if reranker.settings.quantization is not None:
        raise RequestError(
            "The published scores are those of weights that are not quantized. Leave the quantization out, or record "
            "your own scores with --record FILE."
        )


def _judge(case: Case, log_odds: tuple[float, ...], dtype: str) -> CaseVerdict:
    got = log_odds if case.measure == "log-odds" else tuple(map(probability, log_odds))
    return CaseVerdict(case, Comparison(case.expected, got, case.tolerances[dtype]))
