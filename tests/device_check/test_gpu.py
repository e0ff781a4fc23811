"""The checks of `qwen3-rerank doctor --check` on a GPU, part by part."""

from __future__ import annotations

import pytest
import torch

from qwen3_rerank_plugins.device_check.run import SMALL_PARTS, DeviceCheck, dtypes_of, small_subject
from qwen3_rerank_plugins.engine.loading.placement import choose_device

NO_GPU = pytest.mark.skip(reason="torch finds no CUDA device, so the checks of a GPU cannot run")


@pytest.mark.gpu
@pytest.mark.parametrize("part", SMALL_PARTS if torch.cuda.is_available() else [pytest.param("all", marks=NO_GPU)])
def test_every_check_passes_on_the_gpu(part: str) -> None:
    asked = DeviceCheck(device="cuda")
    device, _ = choose_device(asked.device)
    with small_subject(asked, device) as subject:
        found = [check for dtype in dtypes_of(asked, device) for check in SMALL_PARTS[part](subject, dtype)]
    assert found
    assert [check.line() for check in found if check.passed is False] == []
