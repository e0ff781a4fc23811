"""The result of a check: what passes, what is printed, and what becomes of an exception."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from qwen3_rerank_plugins.device_check.check import Check, survive


@pytest.mark.parametrize(
    ("check", "passed", "line"),
    [
        (Check("a", 0.5, 1.0), True, "ok   a: 0.5 (limit 1)"),
        (Check("a", 2.0, 1.0, note="worst of four"), False, "FAIL a: 2 (limit 1) - worst of four"),
        (Check("a", 2.0), True, "ok   a: 2"),
        (Check("a", note="not installed"), None, "skip a - not installed"),
        (Check("a", error="ValueError: no"), False, "FAIL a - ValueError: no"),
    ],
)
def test_a_check_passes_within_its_limit_and_prints_one_line(check: Check, passed: bool | None, line: str) -> None:
    assert check.passed is passed
    assert check.line() == line


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_no_finite_number_fails_without_a_limit_too(value: float) -> None:
    check = Check("a", value)
    assert check.passed is False
    assert check.value is None
    assert str(value) in check.error


def test_an_exception_fails_its_check_and_keeps_the_earlier_ones() -> None:
    def checks() -> Iterator[Check]:
        yield Check("first", 1.0)
        raise RuntimeError("CUDA error: an illegal memory access\nmore lines")

    first, second = survive("kernels", checks)
    assert first.passed
    assert (second.name, second.passed) == ("kernels", False)
    assert second.error == "RuntimeError: CUDA error: an illegal memory access"
