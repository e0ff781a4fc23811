"""Waiting requests, merged: the same answers, and every caller counted."""

from __future__ import annotations

from benchmarks.concurrency import CALLERS, DOCUMENTS, measure_together
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.engine.settings import EngineSettings


def test_calls_at_once_give_the_answers_of_calls_one_by_one(subject: Subject, text: RealText, told: list[str]) -> None:
    results = measure_together(text, EngineSettings(model=str(subject.folder)), 2, told.append)
    assert (results.callers, results.documents_each, results.rounds) == (CALLERS, DOCUMENTS, 2)
    assert results.largest_difference < 1e-4
    assert 0 < results.lone.p50 <= results.lone.p95
    assert results.at_once.p50 <= results.at_once.p95
    assert told == ["round 1 of 2", "round 2 of 2"]
