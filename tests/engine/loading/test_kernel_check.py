"""Kernels that give wrong results or raise are replaced by plain torch, with one warning that says which and why."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_rerank_plugins.engine.kernels.layer_kernels import KernelChoice, TorchKernels
from qwen3_rerank_plugins.engine.kernels.triton_kernels import TritonKernels
from qwen3_rerank_plugins.engine.loading import kernel_check
from qwen3_rerank_plugins.engine.loading.kernel_check import check_kernels, with_checked_kernels
from qwen3_rerank_plugins.engine.loading.placement import Placement, choose_placement
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.model.attention import AttentionChoice, adapt_flash_attn
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.engine.model.test_attention import flash_attn_varlen_func

CPU = torch.device("cpu")
SHAPE = dataclasses.replace(
    PUBLISHED["Qwen/Qwen3-Reranker-0.6B"], hidden=96, heads=4, key_value_heads=2, head_dim=16, intermediate=200
)
FLASH = AttentionChoice("flash_attn", "for this test", adapt_flash_attn(flash_attn_varlen_func))


@pytest.fixture(autouse=True)
def nothing_checked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "_CHECKED", {})
    return


def placed(kernels: Any, attention: AttentionChoice = FLASH, dtype: str = "float32") -> Placement:
    plain = choose_placement(EngineSettings(model="demo", device="cpu", dtype=dtype))  # type: ignore[arg-type]
    return dataclasses.replace(plain, kernels=KernelChoice("triton", "for this test", kernels), attention=attention)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_right_kernels_pass_and_stay(dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    placement = placed(TritonKernels(), dtype=dtype)
    checks = check_kernels(placement, SHAPE, CPU)
    assert [check.kernel for check in checks] == [
        "Triton's add_and_normalize",
        "Triton's normalize_and_rotate",
        "Triton's gate",
        "Triton's gather",
        "flash_attn",
    ]
    assert all(check.passed for check in checks)
    assert with_checked_kernels(placement, SHAPE, [CPU]) is placement
    assert not caplog.records


class Off(TorchKernels):
    """Kernels of which one is wrong by a little, or gives no number, or does not compile."""

    def __init__(self, wrong: str, factor: float) -> None:
        self.wrong, self.factor = wrong, factor

    def _spoil(self, name: str, result: Tensor) -> Tensor:
        if name == self.wrong and self.factor == 0:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")
        return result.mul_(self.factor) if name == self.wrong else result

    def add_and_normalize(self, *arguments: Any) -> Tensor:
        return self._spoil("add_and_normalize", super().add_and_normalize(*arguments))

    def normalize_and_rotate(self, query: Any, key: Tensor, *arguments: Any) -> None:
        super().normalize_and_rotate(query, key, *arguments)
        self._spoil("normalize_and_rotate", key)

    def gate(self, *arguments: Any) -> Tensor:
        return self._spoil("gate", super().gate(*arguments))

    def gather(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        key, value = super().gather(*arguments)
        return key, self._spoil("gather", value)


@pytest.mark.parametrize("factor", [1.1, float("nan"), 0])
@pytest.mark.parametrize("kernel", ["add_and_normalize", "normalize_and_rotate", "gate", "gather"])
def test_one_wrong_kernel_puts_plain_torch_in_the_place_of_all(
    kernel: str, factor: float, caplog: pytest.LogCaptureFixture
) -> None:
    off = Off(kernel, factor)
    attention = AttentionChoice("flash_attn", "", adapt_flash_attn(flash_attn_varlen_func, off.gather))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel_check, "choose_attention", lambda *_: FLASH)
        found = with_checked_kernels(placed(off, attention), SHAPE, [CPU])
    assert (found.kernels.name, found.kernels.kernels) == ("torch", None)
    assert found.attention.name == "flash_attn", "what gathers with the broken kernel is made anew, not dropped"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"Triton's {kernel} on cpu" in record.message
    assert ("Failed to find C compiler" if factor == 0 else "differs from plain torch by") in record.message
    assert kernel in found.kernels.reason


def test_wrong_attention_gives_way_to_sdpa_and_the_kernels_stay(caplog: pytest.LogCaptureFixture) -> None:
    def backwards(query: Tensor, key: Tensor, value: Tensor, *arguments: Any) -> Tensor:
        return sdpa_attention(query, key, value.flip(0), *arguments)

    found = with_checked_kernels(placed(TorchKernels(), AttentionChoice("fa3", "", backwards)), SHAPE, [CPU])
    assert (found.attention.name, found.attention.attend) == ("sdpa", sdpa_attention)
    assert found.kernels.kernels is not None
    assert "fa3 on cpu: its result differs" in caplog.text
    assert "fa3" in found.attention.reason


def test_kernels_and_attention_may_both_fail(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> Tensor:
        raise OSError("undefined symbol")

    attention = AttentionChoice("fa4", "", broken)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel_check, "choose_attention", lambda *_: attention)
        found = with_checked_kernels(placed(Off("gate", 0), attention), SHAPE, [CPU])
    assert (found.kernels.name, found.attention.name) == ("torch", "sdpa")
    assert "fa4 on cpu: OSError: undefined symbol" in caplog.text


def test_a_device_is_checked_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = placed(TorchKernels())
    check_kernels(placement, SHAPE, CPU)
    monkeypatch.setattr(kernel_check, "_TinyBatch", pytest.fail)
    assert len(check_kernels(placement, SHAPE, CPU)) == 5


def test_where_everything_is_plain_torch_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "_TinyBatch", lambda *_: None)
    plain = choose_placement(EngineSettings(model="demo", device="cpu"))
    assert check_kernels(plain, SHAPE, CPU) == ()
