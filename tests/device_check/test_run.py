"""All checks on a CPU, and the choice of devices, dtypes and shapes."""

from __future__ import annotations

import json

import pytest
import torch

from qwen3_rerank_plugins.device_check import run
from qwen3_rerank_plugins.device_check.check import Check
from qwen3_rerank_plugins.device_check.run import DeviceCheck, dtypes_of, run_checks
from tests.fake_cuda import FakeCuda

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def test_the_record_of_a_cpu_has_every_check_and_is_strict_json(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"a": run.SMALL_PARTS["several devices"], "b": run.SMALL_PARTS["independence"]}
    monkeypatch.setattr(run, "SMALL_PARTS", parts)
    told: list[Check] = []
    record = run_checks(DeviceCheck(device="cpu", dtype="float32"), told.append)
    assert record == json.loads(json.dumps(record, allow_nan=False))
    assert record["study"] == "device-check"
    assert record["circumstances"]["version"]
    assert "random weights" in record["circumstances"]["subject"]
    assert record["results"]["passed"] is True
    assert [one["name"] for one in record["results"]["checks"]] == [check.name for check in told]
    assert all(name.startswith("float32, ") for name in (check.name for check in told))


def test_a_failed_check_fails_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "small_checks", lambda *_: iter([Check("a", 2.0, 1.0), Check("b", note="not here")]))
    record = run_checks(DeviceCheck(device="cpu"), lambda _: None)
    assert record["results"]["passed"] is False
    assert [one["passed"] for one in record["results"]["checks"]] == [False, None]


def test_a_gpu_without_an_index_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    asked: list[torch.device] = []

    def stop(_: str, device: torch.device, __: torch.dtype) -> None:
        asked.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "note_circumstances", stop)
    for name in ("cuda", "auto", "cuda:0"):
        with pytest.raises(KeyboardInterrupt):
            run_checks(DeviceCheck(device=name), lambda _: None)
    assert asked == [torch.device("cuda", 1), torch.device("cuda", 1), torch.device("cuda", 0)]


def test_replicas_use_every_gpu_unless_one_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    assert run._replicas(torch.device("cuda", 1), everywhere=True) == ("cuda:0", "cuda:1")
    assert run._replicas(torch.device("cuda", 1), everywhere=False) == ("cuda:1", "cuda:1")
    assert run._replicas(CPU, everywhere=True) == ("cpu", "cpu")


@pytest.mark.parametrize(("capability", "first"), [((9, 0), torch.bfloat16), ((7, 5), torch.float16)])
def test_an_old_gpu_is_not_asked_for_bfloat16(
    capability: tuple[int, int], first: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(capability=capability).install(monkeypatch)
    dtypes = dtypes_of(DeviceCheck(), torch.device("cuda", 0))
    assert dtypes[0] == first
    assert {torch.float16, torch.float32} <= {*dtypes}
    assert dtypes_of(DeviceCheck(dtype="float16"), CPU) == [torch.float16]


def test_a_shape_that_does_not_fit_is_skipped_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "free_memory", lambda _: 2**30)
    (check,) = run.published_checks(DeviceCheck(device="cpu", dtype="bfloat16", shape="8b"), CPU)
    assert check.passed is None
    assert "1.0 GiB are free" in check.note


def test_a_shape_that_fits_runs_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run.PUBLISHED, "Qwen/Qwen3-Reranker-0.6B", run.TINY)
    monkeypatch.setattr(run, "PUBLISHED_PARTS", {"stock path": run.PUBLISHED_PARTS["stock path"]})
    (check,) = run.published_checks(DeviceCheck(device="cpu", dtype="float32", shape="0.6b"), CPU)
    assert check.name == "0.6b, float32, default: largest difference from the stock path"
    assert check.passed
