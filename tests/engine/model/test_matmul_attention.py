"""Attention in matrix products against the definition, and against SDPA."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.model import layout as layout_module
from qwen3_rerank_plugins.engine.model import matmul_attention as module
from qwen3_rerank_plugins.engine.model.matmul_attention import matmul_attention
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from tests.engine.model.test_attention import by_definition, random_heads
from tests.engine.model.test_layout import layout_of, layouts


@settings(max_examples=100, deadline=None)
@given(
    layouts,
    st.sampled_from([(4, 2), (2, 2), (3, 1)]),
    st.booleans(),
    st.integers(1, 8),
    st.sampled_from([1, 40, 10**6]),
    st.sampled_from([0.0, 1.06, 100.0]),
)
def test_matrix_products_over_segments_are_attention_by_definition(
    requests: list[tuple[int, list[int]]],
    heads: tuple[int, int],
    last_only: bool,
    block: int,
    scores: int,
    padding: float,
) -> None:
    layout = layout_of(requests, last_only=last_only)
    inputs = random_heads(layout, *heads, 8)
    with (
        mock.patch.object(layout_module, "_MOST_PADDING", padding),
        mock.patch.object(module, "_BLOCK", block),
        mock.patch.object(module, "_SCORES", scores),
    ):
        found = matmul_attention(*inputs, layout, 0.3)
    torch.testing.assert_close(found, by_definition(*inputs, layout, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tail", [1, 127, 128, 129, 300, 1500])
def test_long_documents_are_computed_as_by_sdpa(tail: int, dtype: torch.dtype) -> None:
    layout = layout_of([(90, [tail, 3]), (2, [5])])
    inputs = random_heads(layout, 4, 2, 16, dtype)
    exact = 1e-5 if dtype == torch.float32 else 2e-2
    found, expected = (attend(*inputs, layout, 0.25) for attend in (matmul_attention, sdpa_attention))
    torch.testing.assert_close(found, expected, atol=exact, rtol=exact)


def test_the_masked_half_of_a_long_document_is_not_computed() -> None:
    layout = layout_of([(1, [1024])])
    inputs = random_heads(layout, 2, 1, 16, torch.float32)
    products: list[int] = []
    baddbmm = torch.baddbmm

    def count(scores: torch.Tensor, *others: torch.Tensor, **options: object) -> torch.Tensor:
        products.append(scores.numel())
        return baddbmm(scores, *others, **options)  # type: ignore[call-overload, no-any-return]

    with mock.patch.object(torch, "baddbmm", count):
        matmul_attention(*inputs, layout, 0.25)
    assert sum(products) < 0.6 * 2 * 1024**2
