"""A model that is too large for this machine is told of before it is downloaded."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.cli import loading
from qwen3_rerank_plugins.cli import memory_forecast as fitting
from qwen3_rerank_plugins.cli.memory_forecast import warning_about_size
from qwen3_rerank_plugins.cli.output import Screen
from qwen3_rerank_plugins.engine import memory
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL, EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from tests.doubles import OverlapScorer


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(memory, "free_memory", lambda device: 8 * 2**30)
    return monkeypatch


def test_the_default_that_does_not_fit_is_told_with_one_that_does(free: pytest.MonkeyPatch) -> None:
    warning = warning_about_size(EngineSettings(device="cpu"))
    assert warning is not None
    assert warning.startswith(f"{DEFAULT_MODEL} needs ")
    assert "GiB in float32 on cpu, where 8.0 GiB is free: it will probably not fit." in warning
    assert warning.endswith("Take a smaller one with --model Qwen/Qwen3-Reranker-0.6B, or see qwen3-rerank doctor.")


def test_where_no_published_size_fits_a_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    warning = warning_about_size(EngineSettings(model="Qwen/Qwen3-Reranker-0.6B", device="cpu"))
    assert warning is not None
    assert "No published size fits" in warning


@pytest.mark.parametrize("model", ["Qwen/Qwen3-Reranker-0.6B", "demo", "someone/else"])
def test_what_fits_and_what_nobody_knows_is_passed_over(model: str, free: pytest.MonkeyPatch) -> None:
    assert warning_about_size(EngineSettings(model=model, device="cpu")) is None


def test_it_is_told_before_the_network_is_touched(free: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said_before: list[str] = []

    class Missing(OverlapScorer):
        def warmup(self) -> None:
            said_before.append(capsys.readouterr().err)
            raise CheckpointNotFoundError("not here")

    free.setattr(loading, "warning_about_size", warning_about_size)
    with pytest.raises(CheckpointNotFoundError):
        loading.load(Qwen3Reranker(device="cpu", scorer=Missing()), Screen())
    assert [said.count("it will probably not fit") for said in said_before] == [1]
    assert fitting.size(2**30) == "1.0 GiB"
