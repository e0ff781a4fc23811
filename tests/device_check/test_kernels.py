"""The comparisons of kernels and of batches on a CPU: right scores pass, and wrong ones do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from qwen3_rerank_plugins.device_check import engines
from qwen3_rerank_plugins.device_check.check import Check
from qwen3_rerank_plugins.device_check.engines import OpenedEngine
from qwen3_rerank_plugins.device_check.independence import check_independence, check_several_devices
from qwen3_rerank_plugins.device_check.kernels import check_against_stock, check_kernels
from qwen3_rerank_plugins.device_check.subject import Subject
from qwen3_rerank_plugins.device_check.variants import names_of, plain, variants
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import SettingsError

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only layouts of few documents, most of them of different lengths."""
    layouts = ["one prefix, short documents", "documents of one token", "several prefixes"]
    monkeypatch.setattr(Subject, "layouts", property(lambda _: layouts))


def measured(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.limit is not None]


@pytest.mark.usefixtures("few")
def test_in_float32_every_kernel_agrees_with_the_plain_path_and_the_stock_path(subject: Subject) -> None:
    found = [*check_kernels(subject, torch.float32)]
    compared = measured(found)
    assert {check.limit for check in compared} == {1e-3}
    assert len(compared) >= 4  # two of the default settings, two of attention="sdpa"
    assert all(check.passed and check.value is not None and check.value < 1e-4 for check in compared), compared


@pytest.mark.usefixtures("few")
def test_a_kernel_that_cannot_run_here_is_skipped_with_its_reason(subject: Subject) -> None:
    (varlen,) = [check for check in check_kernels(subject, torch.float32) if "attention varlen" in check.name]
    assert varlen.passed is None
    assert "CUDA" in varlen.note


@pytest.mark.usefixtures("few")
def test_in_bfloat16_the_limit_is_the_rounding_of_the_stock_path(subject: Subject) -> None:
    found = [*check_kernels(subject, torch.bfloat16)]
    assert all(check.passed is not False for check in found), found
    assert all(check.limit is not None and check.limit > 1e-3 for check in measured(found))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("part", [check_kernels, check_independence, check_against_stock])
def test_scores_in_the_order_of_the_plan_fail(part: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_planned(run: Any, requests: Sequence[TokenizedRequest], plans: Sequence[BatchPlan]) -> list[float]:
        return [score for plan in plans for score in run(requests, plan)]

    if part is check_kernels:  # the plain path would be wrong in the same way, so the stock path has to tell
        monkeypatch.setattr(engines, "log_odds_by_document", as_planned)
        errors = [check for check in part(subject, torch.float32) if "RMS" in check.name and check.limit is not None]
        assert errors
        assert [check.passed for check in errors] == [False] * len(errors)
        return
    (right,) = part(subject, torch.float32)
    monkeypatch.setattr(engines, "log_odds_by_document", as_planned)
    (wrong,) = part(subject, torch.float32)
    assert (right.passed, wrong.passed) == (True, False)


@pytest.mark.usefixtures("few")
def test_a_kernel_that_computes_something_else_fails_and_one_that_raises_does_not_end_the_checks(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = OpenedEngine.score
    opened: list[OpenedEngine] = []

    def broken(engine: OpenedEngine, requests: Sequence[TokenizedRequest]) -> torch.Tensor:
        if engine not in opened:
            opened.append(engine)
        if len(opened) == 2:  # the first is the plain path
            raise RuntimeError("no kernel image is available")
        return score(engine, requests) + (0.01 if len(opened) > 2 else 0)

    monkeypatch.setattr(OpenedEngine, "score", broken)
    found = [*check_kernels(subject, torch.float32)]
    assert [check.error for check in found if check.error] == ["RuntimeError: no kernel image is available"]
    later = measured(found)
    assert later
    assert not any(check.passed for check in later)


def test_two_replicas_and_a_spread_model_agree_with_one_model(subject: Subject) -> None:
    assert subject.replicas == ("cpu", "cpu")
    replicas, spread = check_several_devices(subject, torch.float32)
    assert "replicas on cpu, cpu" in replicas.name
    assert (replicas.passed, spread.passed) == (True, True)


def test_the_variants_are_the_names_of_the_settings() -> None:
    settings = EngineSettings(model="demo")
    found = variants(settings)
    assert found.pop("default") == settings
    expected = {f"{setting} {name}" for setting in ("attention", "kernels") for name in names_of(setting)}
    assert found.keys() == expected
    assert {"attention varlen", "attention sdpa"} <= found.keys()
    assert plain(settings).attention == "sdpa"
    with pytest.raises(SettingsError):
        EngineSettings(model="demo", attention="no such kernel")  # type: ignore[arg-type]
