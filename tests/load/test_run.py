"""The comparison of answers and a whole run: both must notice mistakes, or a clean run would mean nothing."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins._records.record import as_markdown, make_record
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.load.expected_answers import Answer, Entry, Expected, judge
from tests.load.faults import Rates
from tests.load.picture import draw_run
from tests.load.questions import MANNERS, Question, draw_questions
from tests.load.results import LoadPlan
from tests.load.run import run_load
from tests.load.sampling import Sample, find_trend
from tests.load.tables import grids_of
from tests.load.texts import HOSTILE, gather_texts

pytestmark = pytest.mark.slow

QUESTION = Question(0, MANNERS[0], "query", ("a", "b", "a", ""), top_n=None)
EXPECTED = Expected((1.0, 2.0, 1.0, -math.inf), (0, 7, 0, 0))
TEXTS = gather_texts(None)


def entry(index: int, off: float = 0.0) -> Entry:
    log_odds = EXPECTED.log_odds[index] + off
    cut = EXPECTED.truncated_tokens[index]
    return Entry(index, probability(log_odds), QUESTION.documents[index], log_odds, cut)


def complaint(*entries: Entry, top_n: int | None = None, ranked: bool = True) -> str | None:
    question = dataclasses.replace(QUESTION, top_n=top_n)
    return judge(question, EXPECTED, Answer(entries, ranked)).complaint


def test_the_judge_accepts_the_serial_answer_and_one_within_the_tolerance() -> None:
    assert complaint(entry(1), entry(0), entry(2), entry(3)) is None
    assert complaint(entry(1, 9e-5), entry(0, -9e-5), entry(2, -9e-5), entry(3)) is None
    assert complaint(entry(1), entry(0), top_n=2) is None
    assert complaint(*map(entry, range(4)), ranked=False, top_n=2) is None


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(1), entry(0), entry(2)], "wanted"),
        ([entry(1), entry(0), entry(0), entry(3)], "wanted"),
        ([entry(1), entry(2), entry(0), entry(3)], "two equal"),
        ([entry(0), entry(1), entry(2), entry(3)], "is ranked above"),
        ([entry(1, 2e-4), entry(0), entry(2), entry(3)], "probability"),
        ([entry(1), entry(0), entry(2, math.nan), entry(3)], "probability"),
        ([dataclasses.replace(entry(1), log_odds=2.001), entry(0), entry(2), entry(3)], "log-odds"),
        ([dataclasses.replace(entry(1), text="c"), entry(0), entry(2), entry(3)], "another text"),
        ([dataclasses.replace(entry(1), truncated_tokens=0), entry(0), entry(2), entry(3)], "lost 0 tokens"),
        ([dataclasses.replace(entry(1), index=4), entry(0), entry(2), entry(3)], "wanted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_judge_sees_what_is_wrong(entries: list[Entry], said: str) -> None:
    assert said in (complaint(*entries) or "")


def test_the_judge_sees_a_better_document_that_was_left_out() -> None:
    assert "left out" in (complaint(entry(0), entry(2), top_n=2) or "")
    assert "not that of the documents" in (complaint(*map(entry, (1, 0, 2, 3)), ranked=False) or "")


def test_questions_are_the_same_for_a_seed_and_of_every_kind() -> None:
    questions = draw_questions(TEXTS, 200, 3)
    assert questions == draw_questions(TEXTS, 200, 3)
    assert questions != draw_questions(TEXTS, 200, 4)
    documents = [document for question in questions for document in question.documents]
    assert {len(question.documents) for question in questions} >= {1, 40}
    assert {question.manner for question in questions} == set(MANNERS)
    assert min(map(len, documents)) == 0
    assert max(map(len, documents)) > 2_000
    assert set(HOSTILE) & set(documents)
    assert any(len(set(question.documents)) < len(question.documents) for question in questions)


def small(**options: Any) -> LoadPlan:
    return LoadPlan(**{"requests": 30, "threads": 4, "coroutines": 4, "questions": 10, **options})


def spoil_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change one score of every batch with several requests by 0.001, like the smallest mix-up of callers."""
    run = ModelRunner.__call__

    def spoiling(runner: ModelRunner, requests: Any, plan: Any) -> list[float]:
        log_odds = run(runner, requests, plan)
        return [log_odds[0] + 1e-3, *log_odds[1:]] if len(plan.slices) > 1 else log_odds

    monkeypatch.setattr(ModelRunner, "__call__", spoiling)


def test_a_run_sees_scores_that_depend_on_the_rest_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_scores(monkeypatch)
    results = run_load(small(), TEXTS)
    assert results.wrong > 0
    assert "had a wrong result" in results.failures[0]
    assert "not" in results.complaints[0]


def test_a_run_sees_a_caller_who_never_gets_an_answer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    submit, submitted = Scheduler.submit, itertools.count()
    forgotten: Future[Any] = Future()

    def forgetful(worker: Scheduler, *arguments: Any, **options: Any) -> Future[Any]:
        future = submit(worker, *arguments, **options)
        return forgotten if next(submitted) == 20 else future  # the serial run has submitted 10

    monkeypatch.setattr(Scheduler, "submit", forgetful)
    results = run_load(small(patience=10.0, coroutines=0), TEXTS)  # long enough to load the engine on a busy machine
    forgotten.cancel()
    assert results.lost == 1, results
    assert "never came back" in results.failures[0]
    assert "ask_on" in capfd.readouterr().err, "the traceback of the call that hangs is missing"


def test_a_run_sees_scores_that_are_nan_and_ranked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_rerank_plugins.engine.ranking.check_finite", lambda *_: None)
    results = run_load(small(rates=Rates(nan=0.5)), TEXTS)
    assert results.wrong > 0
    assert "an answer in spite of ['NaN scores']" in results.complaints[0]


def sample(seconds: float, resident: float, threads: int) -> Sample:
    return Sample(seconds, resident, threads, files=9, waiting=0, answered=0, faults=0, wrong=0)


def test_a_trend_is_the_slope_of_the_last_two_thirds() -> None:
    warming = [sample(t, 100 + t, 5) for t in range(100)]

    def then(slope: float) -> list[Sample]:
        return [sample(t, 200 + slope * t, 6) for t in range(100, 300)]

    flat, rising = find_trend([*warming, *then(0.0)]), find_trend([*warming, *then(0.1)])
    assert flat is not None
    assert rising is not None
    assert flat.resident_per_hour == pytest.approx(0.0, abs=1e-6)
    assert rising.resident_per_hour == pytest.approx(360.0)
    assert rising.threads == (6.0, 6.0)
    assert find_trend(warming[:5]) is None


def test_a_run_sees_what_the_package_would_keep_of_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.load.results.SHORTEST_JUDGED", 0.0)
    plan = small(sample_every=0.01)
    run_load(plan, TEXTS)  # what is loaded on first use is not a leak
    clean = run_load(plan, TEXTS)
    if clean.rest_after.heap is None:
        pytest.skip("this C library cannot be asked about its heap")
    assert not [failure for failure in clean.failures if "when idle" in failure]
    kept: list[bytearray] = []
    submit = Scheduler.submit

    def keeping(worker: Scheduler, *arguments: Any, **options: Any) -> Future[Any]:
        kept.append(bytearray(200_000))
        return submit(worker, *arguments, **options)

    monkeypatch.setattr(Scheduler, "submit", keeping)
    leaking = run_load(plan, TEXTS)
    assert [failure for failure in leaking.failures if "when idle" in failure], leaking.rest_after


def test_a_record_becomes_tables_and_a_picture(tmp_path: Path) -> None:
    results = run_load(small(sample_every=0.01), TEXTS)
    around = {"subject": "demo", "dtype": "float32", "device": "CPU"}
    record = json.loads(json.dumps({**make_record("load", None, results), "circumstances": around}))  # type: ignore[arg-type]
    assert "| lost calls | 0 |" in as_markdown(grids_of(record)[0])
    draw_run(record, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_a_run_keeps_no_request_so_that_memory_that_grows_is_the_packages() -> None:
    def kept() -> int:
        return sum(type(thing) is TokenizedRequest for thing in gc.get_objects())

    run_load(small(), TEXTS)  # imports make cycles of their own
    gc.collect()
    gc.disable()
    try:
        before = kept()
        results = run_load(small(), TEXTS)
        assert kept() - before < results.calls / 10
    finally:
        gc.enable()
