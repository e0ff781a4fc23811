"""Costs counted against a count that goes token by token."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.bench.cost import count_card_flops, count_flops, count_tokens, measure_gemm_rate
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.bench.conftest import SMALL

lengths = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=3
)


def requests_of(sizes: list[tuple[int, list[int]]]) -> list[TokenizedRequest]:
    def request(prefix: int, tails: list[int]) -> TokenizedRequest:
        count = len(tails)
        return TokenizedRequest(
            (0,) * prefix, tuple((1,) * document for document in tails), tuple(range(count)), (0,) * count
        )

    return [request(prefix, tails) for prefix, tails in sizes]


@given(lengths)
def test_flops_are_those_of_every_token_and_every_pair(sizes: list[tuple[int, list[int]]]) -> None:
    tokens, pairs = 0, 0
    for prefix, tails in sizes:
        for position in range(prefix):
            tokens, pairs = tokens + 1, pairs + position + 1
        for document, position in ((t, p) for t in tails for p in range(t)):
            tokens, pairs = tokens + 1, pairs + prefix + position + 1
            assert position < document
    per_pair = 2 * 2 * SMALL.layers * SMALL.heads * SMALL.head_dim
    expected = 2 * SMALL.layer_parameters * tokens + per_pair * pairs
    assert count_flops(requests_of(sizes), SMALL, budget=10_000) == expected


@given(lengths)
def test_unique_tokens_are_never_more_than_naive_ones_and_padded_ones_never_fewer(
    sizes: list[tuple[int, list[int]]],
) -> None:
    counted = count_tokens(requests_of(sizes), budget=10_000)
    assert counted.unique <= counted.naive <= counted.padded
    assert counted.naive == sum(prefix + document for prefix, tails in sizes for document in tails)
    assert counted.unique == sum(prefix + sum(tails) for prefix, tails in sizes)
    assert counted.passes == 1


@given(lengths)
def test_the_script_of_the_card_computes_every_prompt_whole_and_the_logits_of_every_position(
    sizes: list[tuple[int, list[int]]],
) -> None:
    prompts = [(prefix, [document]) for prefix, tails in sizes for document in tails]
    layers = sum(count_flops(requests_of([prompt]), SMALL, budget=10_000) for prompt in prompts)
    logits = 2 * SMALL.vocabulary * SMALL.hidden * sum(prefix + document for prefix, (document,) in prompts)
    assert count_card_flops(requests_of(sizes), SMALL) == layers + logits


def test_padding_goes_by_batches_of_sorted_prompts() -> None:
    tails = list(itertools.chain([10] * 32, [2] * 8))
    assert count_tokens(requests_of([(5, tails)]), budget=10_000).padded == 32 * 15 + 8 * 7


def test_a_small_budget_counts_prefixes_again() -> None:
    counted = count_tokens(requests_of([(10, [10, 10])]), budget=20)
    assert (counted.unique, counted.passes) == (40, 2)


def test_identical_documents_count_as_often_as_they_were_given_but_only_once_as_unique() -> None:
    request = TokenizedRequest((0,) * 5, ((1,) * 4,), (0, 0, 0), (0, 0, 0))
    counted = count_tokens([request], budget=100)
    assert (counted.naive, counted.unique) == (27, 9)


def test_the_machine_multiplies_matrices_at_some_rate() -> None:
    assert measure_gemm_rate(SMALL, torch.float32, torch.device("cpu")) > 1e6
