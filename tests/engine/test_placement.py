"""What "auto" comes to on a machine, and what is refused there."""

from __future__ import annotations

import pytest
import torch

from qwen3_rerank_plugins.engine.placement import choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


def test_auto_on_the_cpu_is_float32_and_sdpa_with_reasons() -> None:
    placement = choose_placement(EngineSettings(device="cpu"))
    assert (placement.device.type, placement.dtype, placement.attention.name) == ("cpu", torch.float32, "sdpa")
    assert placement.dtype_reason
    assert placement.attention.reason


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16)]
)
def test_auto_dtype_on_cuda_follows_the_compute_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_placement(EngineSettings()).dtype == dtype


@pytest.mark.parametrize("device", ["cuda:0", "tpu", "cpu:zero"])
def test_a_device_that_is_not_here_is_refused_by_name(device: str) -> None:
    if device == "cuda:0" and torch.cuda.is_available():
        pytest.skip("this machine has that device")
    with pytest.raises(SettingsError, match=f"device='{device}' is not usable here.*[^.]\\. Use device='auto'"):
        choose_placement(EngineSettings(device=device))
