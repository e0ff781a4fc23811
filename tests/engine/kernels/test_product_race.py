"""The race between the products of a CPU: who takes part, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from qwen3_rerank_plugins.engine.kernels import onednn, product_race
from qwen3_rerank_plugins.engine.kernels.product_race import CONTENDERS, ProductRates, race_products


@pytest.fixture(autouse=True)
def _no_earlier_race() -> Iterator[None]:
    race_products.cache_clear()
    yield
    race_products.cache_clear()


def test_torchs_own_products_always_take_part_and_every_rate_is_a_number() -> None:
    rates = race_products(64, 96)
    assert set(rates.rates) == set(CONTENDERS)
    assert rates.of("torch", torch.float32) > 0
    assert rates.of("torch", torch.bfloat16) > 0
    assert all(rate >= 0 for rate in rates.rates.values())
    assert rates.best(torch.float32) == max(rates.of("torch", torch.float32), rates.of("onednn", torch.float32))


def test_the_threads_of_the_caller_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    race_products(32, 32)
    assert torch.get_num_threads() == before


def test_a_race_is_run_once_a_process() -> None:
    assert race_products(32, 48) is race_products(32, 48)


def test_a_wrong_product_does_not_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "multiply", lambda states, packed: torch.zeros(len(states), packed.shape[0]))
    assert race_products(64, 64).of("onednn", torch.float32) == 0


def test_a_product_that_is_not_a_number_does_not_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onednn, "multiply", lambda states, packed: torch.full((len(states), packed.shape[0]), torch.nan)
    )
    assert race_products(64, 64).of("onednn", torch.float32) == 0


@pytest.mark.parametrize("name", ["pack", "multiply"])
def test_a_product_that_raises_does_not_take_part(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(onednn, name, fail)
    rates = race_products(64, 64)
    assert rates.of("onednn", torch.float32) == rates.of("onednn", torch.bfloat16) == 0
    assert rates.of("torch", torch.float32) > 0


def test_a_hopeless_product_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"torch": 1.0, "onednn": 10.0}
    measured: list[str] = []

    def prepare(library: str, dtype: torch.dtype, *_: torch.Tensor) -> object:
        return library if dtype == torch.float32 else None

    def time(library: str) -> float:
        measured.append(library)
        return seconds[library]

    monkeypatch.setattr(product_race, "_prepare", prepare)
    monkeypatch.setattr(product_race, "_is_right", lambda *_: True)
    monkeypatch.setattr(product_race, "_time", time)
    rates = race_products(32, 64)
    assert measured.count("onednn") == 1
    assert measured.count("torch") == product_race._ROUNDS
    assert rates.of("torch", torch.float32) == 10 * rates.of("onednn", torch.float32)


def test_a_dtype_that_nobody_measured_has_no_rate() -> None:
    assert ProductRates({("torch", torch.float32): 1.0}).of("onednn", torch.int8) == 0
