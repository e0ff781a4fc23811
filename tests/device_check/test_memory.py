"""Too little memory on a CPU: a scheduler splits the batch, and the check sees when it does not."""

from __future__ import annotations

import pytest
import torch

from qwen3_rerank_plugins.device_check import memory
from qwen3_rerank_plugins.device_check.engines import OpenedEngine
from qwen3_rerank_plugins.device_check.memory import check_memory, check_too_little_memory
from qwen3_rerank_plugins.device_check.requests import full_request, random_requests
from qwen3_rerank_plugins.device_check.subject import Subject


def test_a_batch_that_does_not_fit_is_split_and_scored_alike(subject: Subject) -> None:
    found = [*check_memory(subject, torch.float32)]
    assert all(check.passed for check in found), found
    assert found[-1].name.endswith("too little memory: largest difference of the scores")
    assert not found[-1].note.startswith("0 ")


def test_a_batch_that_fits_shows_nothing_and_fails(subject: Subject) -> None:
    (small,) = random_requests([(20, [30, 10])])
    with OpenedEngine(subject.settings(torch.float32)) as opened:
        scores, fitted = check_too_little_memory(subject, torch.float32, opened, small, 0)
    assert scores.passed
    assert fitted.passed is False


def test_scores_that_change_fail(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduled = memory._scheduled
    monkeypatch.setattr(memory, "_scheduled", lambda *arguments: scheduled(*arguments).flip(0))
    with OpenedEngine(subject.settings(torch.float32)) as opened:
        request = full_request(opened.engine.budget)
        (check,) = check_too_little_memory(subject, torch.float32, opened, request, 0)
    assert check.passed is False
