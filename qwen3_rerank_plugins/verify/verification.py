"""The three things to do with golden scores: verify published ones, record your own, check them again.

Comes in: a reranker, and what is to be asked. Goes out: `CaseVerdict`s, a `Recording`, or a `Recheck`.
Must not know: files, tables.
"""

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
from qwen3_rerank_plugins.verify.questions import OnProgress, Question, ignore_progress, score_questions
from qwen3_rerank_plugins.verify.recording import RecordedQuestion, Recording


@dataclasses.dataclass(frozen=True, slots=True)
class CaseVerdict:
    """A case and what came out, both in the case's measure."""

    case: Case
    comparison: Comparison

    @property
    def passed(self) -> bool | None:
        """None for a case that is shown for information only."""
        return self.comparison.passed if self.case.judged else None


@dataclasses.dataclass(frozen=True, slots=True)
class Recheck:
    """A recording beside what came out this time.

    Attributes:
        recording: what was expected.
        made: what made the scores this time.
        tolerance: how far log-odds may move.
        comparisons: one a question, in log-odds.
    """

    recording: Recording
    made: Provenance
    tolerance: float
    comparisons: tuple[Comparison, ...]

    @property
    def changes(self) -> list[Change]:
        """What makes the scores now and did not then."""
        return list_changes(self.recording.made, self.made)

    @property
    def passed(self) -> bool:
        """No question has moved."""
        return all(comparison.passed for comparison in self.comparisons)


def verify(
    reranker: Qwen3Reranker, cases: Sequence[Case] | None = None, on_progress: OnProgress = ignore_progress
) -> list[CaseVerdict]:
    """Ask a model what is known of its weights.

    Args:
        reranker: of the published weights, or of the demo checkpoint.
        cases: None takes all that are about a model of these sizes.
        on_progress: told how many documents were just scored.

    Raises:
        RequestError: nothing is known of such a model, or the reranker quantises its weights.
        CheckpointError, ScoringError: as `Qwen3Reranker.rank`.
    """
    check_quantization(reranker)
    if cases is None:
        cases = cases_for(find_checkpoint(reranker.settings))
    found = score_questions(reranker, [case.question for case in cases], on_progress)
    dtype = collect_provenance(reranker).dtype
    return [_judge(case, log_odds, dtype) for case, log_odds in zip(cases, found, strict=True)]


def record(
    reranker: Qwen3Reranker, questions: Sequence[Question] | None = None, on_progress: OnProgress = ignore_progress
) -> Recording:
    """Ask questions, and keep the answers together with what made them.

    Args:
        reranker: of a model on this machine or on the hub.
        questions: yours; None takes those of the published cases.
        on_progress: told how many documents were just scored.

    Raises:
        RequestError: the questions hold no document, or one cannot be ranked.
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
    on_progress: OnProgress = ignore_progress,
) -> Recheck:
    """Ask the recorded questions again.

    Args:
        reranker: as it was when the scores were recorded, or otherwise.
        recording: what was answered then.
        tolerance: how far log-odds may move; None goes by dtype, and by the coarser one where that has changed.
        on_progress: told how many documents were just scored.

    Raises:
        RerankError: as `record`.
    """
    if tolerance is not None and not tolerance >= 0:  # NaN is not either
        raise RequestError(f"tolerance must be a number of at least 0, got {tolerance!r}.")
    found = score_questions(reranker, [recorded.question for recorded in recording.questions], on_progress)
    made = collect_provenance(reranker)
    if tolerance is None:
        # a format that is not known here is a coarse one
        tolerance = max(TOLERANCES.get(dtype, TOLERANCES["bfloat16"]) for dtype in (recording.made.dtype, made.dtype))
    comparisons = (
        Comparison(recorded.log_odds, log_odds, tolerance)
        for recorded, log_odds in zip(recording.questions, found, strict=True)
    )
    return Recheck(recording, made, tolerance, tuple(comparisons))


def check_quantization(reranker: Qwen3Reranker) -> None:
    """Refuse a reranker whose weights cannot give published scores."""
    if reranker.settings.quantization is not None:
        raise RequestError(
            "The published scores are those of weights that are not quantised. Leave the quantization out, or record "
            "scores of your own with --record FILE."
        )


def _judge(case: Case, log_odds: tuple[float, ...], dtype: str) -> CaseVerdict:
    got = log_odds if case.measure == "log-odds" else tuple(map(probability, log_odds))
    return CaseVerdict(case, Comparison(case.expected, got, case.tolerances[dtype]))
