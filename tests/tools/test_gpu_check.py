"""tools/gpu_check.py in its smallest form on a CPU: right scores pass, and wrong ones do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gpu_check
import pytest
import torch
from gpu_checks import scoring

from qwen3_rerank_plugins.bench.opened import OpenedModel
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.fake_cuda import FakeCuda

CPU = torch.device("cpu")
LAYOUTS = ["one prefix, short documents", "documents of one token", "several prefixes"]


@pytest.fixture(scope="module")
def tiny() -> Iterator[OpenedModel]:
    with scoring.random_model(scoring.TINY, CPU, torch.float32) as model:
        yield model


def verdicts(tiny: OpenedModel) -> dict[str, scoring.Check]:
    checks = gpu_check.check_kernels(tiny, torch.float32, LAYOUTS) + gpu_check.check_independence(tiny, torch.float32)
    return {check.name: check for check in checks if check.limit is not None}


def test_in_float32_every_score_is_the_stock_paths_and_its_own_alone(tiny: OpenedModel) -> None:
    found = verdicts(tiny)
    assert len(found) == 2
    assert all(check.limit == 1e-3 and check.value < 1e-4 for check in found.values()), found


def test_scores_in_another_order_than_the_documents_fail_both_verdicts(
    tiny: OpenedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_planned(_: Sequence[TokenizedRequest], __: BatchPlan, log_odds: Sequence[float]) -> torch.Tensor:
        return torch.tensor(log_odds)

    monkeypatch.setattr(scoring, "in_document_order", as_planned)
    assert [check.passed for check in verdicts(tiny).values()] == [False, False]


def test_a_plan_of_several_requests_is_undone() -> None:
    requests = [TokenizedRequest((1,), ((1,),) * count, tuple(range(count)), (0,) * count) for count in (3, 2)]
    plan = BatchPlan((RequestSlice(1, (1, 0), 3), RequestSlice(0, (2, 0, 1), 4)))
    found = scoring.in_document_order(requests, plan, [11.0, 10.0, 2.0, 0.0, 1.0])
    assert found.tolist() == [0.0, 1.0, 2.0, 10.0, 11.0]


def test_a_gpu_without_an_index_is_the_current_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    FakeCuda().install(monkeypatch)
    asked: list[torch.device] = []

    def stop(_: str, device: torch.device, __: torch.dtype) -> None:
        asked.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_check, "note_circumstances", stop)
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--device", "cuda", "--out", str(tmp_path / "out.json")])
    with pytest.raises(KeyboardInterrupt):
        gpu_check.main()
    assert asked == [torch.device("cuda", 1)]
