"""Verify, record, check: with the demo checkpoint, with copies of it that have moved, and with invented answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify import Question, Recording, check, record, verify
from qwen3_rerank_plugins.verify.cases import Case, built_in_questions, demo_cases, published_cases
from qwen3_rerank_plugins.verify.questions import count_documents
from tests.verify.conftest import TableScorer

MOVED = 1.05
"""A factor on one matrix of four layers that a person would not see in a ranking."""
QUESTIONS = (Question("capital of China?", ("Beijing is the capital of China.", " ", "Bread rises in a hot oven.")),)


def answering(moved_by: float = 0.0, dtype: str = "float32") -> Qwen3Reranker:
    """A reranker that gives the published figures, moved by a constant."""
    table: dict[tuple[str, str], float] = {}
    for case in log_odds_cases():
        rows = zip(case.question.documents, case.expected, strict=True)
        table.update({(case.question.query, text): log_odds for text, log_odds in rows})
    return Qwen3Reranker("demo", device="cpu", dtype=dtype, scorer=TableScorer(table, moved_by))  # type: ignore[arg-type]


def log_odds_cases() -> list[Case]:
    """One case for each query, so that a table can answer them all."""
    cases = {case.question.query: case for case in reversed(published_cases()) if case.measure == "log-odds"}
    return list(cases.values())


def test_the_demo_gives_what_was_recorded_of_it() -> None:
    verdicts = verify(Qwen3Reranker("demo", dtype="float32"))
    assert tuple(verdict.case for verdict in verdicts) == demo_cases()
    assert all(verdict.passed for verdict in verdicts)
    assert max(verdict.comparison.largest_difference for verdict in verdicts) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_demo_passes_in_half_precision_by_its_wider_tolerance(dtype: str) -> None:
    verdicts = verify(Qwen3Reranker("demo", device="cpu", dtype=dtype))  # type: ignore[arg-type]
    assert all(verdict.passed for verdict in verdicts)
    assert {verdict.comparison.tolerance for verdict in verdicts} == {0.15}
    assert max(verdict.comparison.largest_difference for verdict in verdicts) > 1e-3


def test_weights_that_have_moved_a_little_are_caught(moved: Callable[[float], Path]) -> None:
    assert all(verdict.passed for verdict in verify(Qwen3Reranker(str(moved(1.0)), dtype="float32")))
    assert not all(verdict.passed for verdict in verify(Qwen3Reranker(str(moved(MOVED)), dtype="float32")))


@pytest.mark.parametrize(
    ("moved_by", "dtype", "failing"),
    [
        (0.0, "float32", set()),
        (0.0009, "float32", set()),
        (0.0011, "float32", {"planet-0.6b"}),
        (0.1, "bfloat16", set()),
        (0.2, "bfloat16", {"planet-0.6b"}),
        (-0.4, "float16", {"planet-0.6b", "capital-4b"}),
        (0.6, "float16", {"planet-0.6b", "capital-4b", "cola-8b"}),
    ],
)
def test_each_case_is_judged_by_its_own_tolerance_in_the_dtype_that_runs(
    moved_by: float, dtype: str, failing: set[str]
) -> None:
    verdicts = verify(answering(moved_by, dtype), log_odds_cases())
    assert {verdict.case.name for verdict in verdicts if verdict.passed is False} == failing


def test_probabilities_are_compared_as_such() -> None:
    (case,) = [case for case in published_cases() if case.name == "topics-0.6b"]
    table = {(case.question.query, text): 0.0 for text in case.question.documents}
    (verdict,) = verify(Qwen3Reranker("demo", scorer=TableScorer(table)), [case])
    assert verdict.comparison.got == (probability(0.0),) * 3
    assert not verdict.passed


def test_a_case_of_low_confidence_is_shown_and_not_judged() -> None:
    (case,) = [case for case in published_cases() if case.confidence == "low"]
    table = {(case.question.query, text): -9.0 for text in case.question.documents}
    (verdict,) = verify(Qwen3Reranker("demo", scorer=TableScorer(table)), [case])
    assert verdict.passed is None
    assert verdict.comparison.largest_difference > 10


def test_quantized_weights_are_not_measured_by_the_figures_of_whole_ones() -> None:
    with pytest.raises(RequestError, match=r"not quantized\. Leave the quantization out"):
        verify(Qwen3Reranker("demo", quantization="int8"))


def test_scores_recorded_and_checked_at_once_have_not_moved_and_were_made_alike() -> None:
    reranker = Qwen3Reranker("demo", device="cpu")
    again = check(reranker, record(reranker, QUESTIONS))
    assert (again.passed, again.changes, again.tolerance) == (True, [], 1e-3)
    assert again.comparisons[0].largest_difference == 0.0


def test_without_questions_those_of_the_published_cases_are_recorded() -> None:
    recording = record(Qwen3Reranker("demo"))
    assert tuple(recorded.question for recorded in recording.questions) == built_in_questions()


def test_the_bar_counts_the_documents() -> None:
    told: list[int] = []
    reranker = Qwen3Reranker("demo")
    recording = record(reranker, QUESTIONS, told.append)
    check(reranker, recording, on_progress=told.append)
    verify(reranker, on_progress=told.append)
    assert sum(told) == 2 * count_documents(QUESTIONS) + count_documents(built_in_questions())


def test_moved_weights_are_caught_by_a_check(moved: Callable[[float], Path]) -> None:
    recording = record(Qwen3Reranker("demo", device="cpu"), QUESTIONS)
    folder = str(moved(MOVED))
    found = check(Qwen3Reranker(folder, device="cpu"), recording)
    assert not found.passed
    assert [(change.what, change.now) for change in found.changes] == [("model", folder)]
    distance = found.comparisons[0].largest_difference
    assert check(Qwen3Reranker(folder, device="cpu"), recording, tolerance=2 * distance).passed


def change_provenance(recording: Recording, **fields: str | int) -> Recording:
    return dataclasses.replace(recording, provenance=dataclasses.replace(recording.provenance, **fields))  # type: ignore[arg-type]


def test_a_change_of_template_or_version_is_reported_though_nothing_moved() -> None:
    reranker = Qwen3Reranker("demo", device="cpu")
    recording = change_provenance(record(reranker, QUESTIONS), template="ffffffffffff", transformers="4.50.0")
    found = check(reranker, recording)
    assert found.passed
    assert [(change.what, change.before) for change in found.changes] == [
        ("template", "ffffffffffff"),
        ("transformers", "4.50.0"),
    ]


def test_another_template_moves_the_scores_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen3_rerank_plugins.engine.text import template as prompt

    recording = record(Qwen3Reranker("demo", device="cpu"), QUESTIONS)
    monkeypatch.setattr(prompt, "_SUFFIX", (*prompt._SUFFIX, prompt.Text("\n")))
    found = check(Qwen3Reranker("demo", device="cpu"), recording)
    assert not found.passed
    assert [change.what for change in found.changes] == ["template"]


def test_the_coarser_of_two_dtypes_sets_the_tolerance() -> None:
    exact, half = (Qwen3Reranker("demo", device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))  # type: ignore[arg-type]
    assert check(half, record(exact, QUESTIONS)).tolerance == 0.15
    found = check(exact, record(half, QUESTIONS))
    assert (found.tolerance, found.passed) == (0.15, True)
    assert [change.what for change in found.changes] == ["dtype"]
    assert check(exact, change_provenance(record(exact, QUESTIONS), dtype="float8")).tolerance == 0.15


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    reranker = Qwen3Reranker("demo")
    with pytest.raises(RequestError, match="tolerance must be a number of at least 0"):
        check(reranker, record(reranker, QUESTIONS), tolerance)


def test_an_instruction_that_nobody_gave_is_recorded_as_such_so_that_a_new_default_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reranker = Qwen3Reranker("demo", device="cpu")
    recording = record(reranker, QUESTIONS)
    assert recording.questions[0].question.instruction is None
    monkeypatch.setattr("qwen3_rerank_plugins.engine.request.DEFAULT_INSTRUCTION", "Find passages about the capital")
    assert not check(reranker, recording).passed
