"""What a model on a CPU runs in, by the rates of its products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from qwen3_rerank_plugins.engine.kernels import cpu_products
from qwen3_rerank_plugins.engine.kernels.cpu_products import CpuProducts
from qwen3_rerank_plugins.engine.kernels.product_race import ProductRates
from qwen3_rerank_plugins.errors import SettingsError

SetRates = Callable[..., None]
CPU = torch.device("cpu")
SIDES = 1024, 3072
FLOAT32, BFLOAT16, INT8 = torch.float32, torch.bfloat16, torch.int8


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> SetRates:
    """Sets the rates of the race in GFLOP/s: float32 by torch and by oneDNN, bfloat16 by both, int8."""

    def set_rates(*rates: float) -> None:
        contenders = [
            ("torch", FLOAT32),
            ("onednn", FLOAT32),
            ("torch", BFLOAT16),
            ("onednn", BFLOAT16),
            ("onednn", INT8),
        ]
        found = ProductRates({one: 1e9 * rate for one, rate in zip(contenders, rates, strict=True)})
        monkeypatch.setattr(cpu_products, "race_products", lambda *_: found)

    return set_rates


AVX2 = 50, 52, 5, 0, 0
AMD_AVX512 = 106, 230, 400, 475, 700
NO_RACE = 1, 1000, 1000, 1000, 1000


@pytest.mark.parametrize(
    ("rates", "dtype", "kernels", "int8"),
    [
        (AVX2, FLOAT32, "torch", False),
        (AMD_AVX512, BFLOAT16, "onednn", True),
        ((100, 100, 140, 149, 155), FLOAT32, "torch", True),  # bfloat16 is faster, but not by half
        ((100, 100, 151, 140, 0), BFLOAT16, "torch", False),
    ],
)
def test_the_fastest_products_are_taken(
    rate: SetRates, rates: tuple[float, ...], dtype: torch.dtype, kernels: str, int8: bool
) -> None:
    rate(*rates)
    products = CpuProducts(SIDES)
    assert products.choose_dtype()[0] == dtype
    assert products.choose_kernels("auto", CPU, dtype, None).name == kernels
    assert products.choose_int8(dtype)[0] == int8


def test_the_reasons_have_the_figures(rate: SetRates) -> None:
    rate(*AMD_AVX512)
    products = CpuProducts(SIDES)
    assert products.choose_dtype()[1] == "bfloat16 products are 2.1 times as fast here (475 and 230 GFLOP/s a core)"
    choice = products.choose_kernels("auto", CPU, FLOAT32, None)
    assert choice.reason == "oneDNN's products are 2.2 times as fast here (230 and 106 GFLOP/s a core)"
    assert "1.5 times as fast here (700 and 475" in products.choose_int8(BFLOAT16)[1]


def test_a_checkpoint_stored_in_float32_is_not_rounded(rate: SetRates) -> None:
    rate(*AMD_AVX512)
    assert CpuProducts(SIDES, stored_in_16_bits=False).choose_dtype() == (FLOAT32, "the checkpoint is stored in it")


@pytest.mark.parametrize("sides", [(128, 128), None])
def test_nothing_is_measured_for_a_small_or_unknown_model(rate: SetRates, sides: tuple[int, int] | None) -> None:
    rate(*NO_RACE)
    products = CpuProducts(sides)
    assert products.choose_dtype()[0] == FLOAT32
    assert products.choose_kernels("auto", CPU, FLOAT32, None).name == "torch"
    assert not products.choose_int8(FLOAT32)[0]


def test_onednn_is_taken_where_it_is_asked_for_whatever_its_rate(rate: SetRates) -> None:
    rate(50, 1, 5, 0, 0)
    assert CpuProducts((128, 128)).choose_kernels("onednn", CPU, FLOAT32, None).reason == "asked for"


@pytest.mark.parametrize(
    ("device", "dtype", "obstacle", "reason"),
    [
        (CPU, BFLOAT16, None, "oneDNN has no products in bfloat16 here"),
        (CPU, torch.float16, None, "need float32 or bfloat16"),
        (torch.device("cuda"), FLOAT32, None, "oneDNN is for CPUs"),
        (CPU, FLOAT32, "the weights are stored as int4", "the weights are stored as int4"),
    ],
)
def test_onednn_is_refused_where_it_cannot_run_and_auto_takes_torch(
    rate: SetRates, device: torch.device, dtype: torch.dtype, obstacle: str | None, reason: str
) -> None:
    rate(*AVX2)
    products = CpuProducts(SIDES)
    with pytest.raises(SettingsError, match=f"kernels='onednn' cannot run here: .*{reason}.*Use kernels='auto'"):
        products.choose_kernels("onednn", device, dtype, obstacle)
    found = products.choose_kernels("auto", device, dtype, obstacle)
    assert found.name == "torch"
    assert reason in found.reason
