"""Receipts: one line a call, with the counts and a way out."""

from __future__ import annotations

import logging

import pytest

from qwen3_rerank_plugins.engine.report import ScoringReport, log_report, report_of
from qwen3_rerank_plugins.engine.scorer import Scores


def test_what_was_read_whole_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    log_report([Scores((1.0, 2.0), (0, 0))])
    log_report([])
    assert caplog.records == []


def test_one_warning_counts_the_cuts_of_a_whole_call(caplog: pytest.LogCaptureFixture) -> None:
    log_report([Scores((1.0, 2.0, 3.0), (0, 7, 20)), Scores((1.0,), (5,))])
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("qwen3_rerank_plugins", logging.WARNING)
    assert "3 of 4 documents were cut" in record.message
    assert "32 tokens were not read, up to 20 of one document" in record.message
    assert "long_documents='windows'" in record.message


def test_scores_of_float32_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    log_report([Scores((1.0, 2.0, 3.0), (0, 0, 0), (), (0, 2))])
    assert caplog.messages == ["2 of 3 scores overflowed in 16 bits and were computed again in float32."]


def test_receipts_add_up() -> None:
    first, second = report_of(Scores((1.0,), (3,))), report_of(Scores((1.0, 2.0), (1, 9), (), (1,)))
    assert first + second == ScoringReport(documents=3, cut=3, cut_tokens=13, longest_cut=9, rescored=1)
