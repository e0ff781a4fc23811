"""Every kernel against the definition of attention, written out with a mask and a softmax."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.model import layout as layout_module
from qwen3_rerank_plugins.engine.model import sdpa
from qwen3_rerank_plugins.engine.model.attention import FlashKernel, adapt_varlen, choose_attention
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, count_parts
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError
from tests.engine.model.test_layout import layout_of, layouts

CPU = torch.device("cpu")


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """softmax(scale * q k + mask) v, one query row and one head at a time."""
    group = query.shape[1] // key.shape[1]
    attended = torch.empty_like(query)
    for segment in layout.segments:
        behind = len(segment.own) - len(segment.queries)
        for position, row in enumerate(segment.queries):
            seen = [*segment.context, *segment.own[: behind + position + 1]]
            for head in range(query.shape[1]):
                weights = (key[seen, head // group] @ query[row, head] * scale).softmax(0)
                attended[row, head] = weights @ value[seen, head // group]
    return attended


def random_heads(
    layout: AttentionLayout, heads: int, groups: int, size: int, dtype: torch.dtype = torch.float64
) -> Any:
    generator = torch.Generator().manual_seed(1)
    rows = max(segment.own.stop for segment in layout.segments)
    queries = max(segment.queries.stop for segment in layout.segments)
    return tuple(
        torch.randn(count, number, size, generator=generator, dtype=dtype)
        for count, number in ((queries, heads), (rows, groups), (rows, groups))
    )


@settings(max_examples=100, deadline=None)
@given(
    layouts,
    st.sampled_from([(4, 2), (2, 2), (3, 1)]),
    st.booleans(),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 1.06, 100.0]),
)
def test_sdpa_over_segments_is_attention_by_definition(
    requests: list[tuple[int, list[int]]],
    heads: tuple[int, int],
    last_only: bool,
    block: int,
    causal_from: int,
    padding: float,
) -> None:
    layout = layout_of(requests, last_only=last_only)
    inputs = random_heads(layout, *heads, 8)
    with (
        mock.patch.object(layout_module, "_MOST_PADDING", padding),
        mock.patch.object(sdpa, "_CPU_BLOCK", block),
        mock.patch.object(sdpa, "_CAUSAL_WORTHWHILE", causal_from),
    ):
        found = sdpa_attention(*inputs, layout, 0.3)
    torch.testing.assert_close(found, by_definition(*inputs, layout, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tail", [1, 127, 128, 129, 300, 1279, 1280, 1500])
def test_short_blocks_and_the_causal_shortcut_for_long_tails_equal_one_mask(tail: int, dtype: torch.dtype) -> None:
    layout = layout_of([(90, [tail, 3])])
    inputs = random_heads(layout, 4, 2, 16, dtype)
    with mock.patch.object(sdpa, "_CAUSAL_WORTHWHILE", 10**9), mock.patch.object(sdpa, "_CPU_BLOCK", 10**9):
        one_mask = sdpa_attention(*inputs, layout, 0.25)
    exact = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(sdpa_attention(*inputs, layout, 0.25), one_mask, atol=exact, rtol=exact)


@settings(max_examples=100, deadline=None)
@given(layouts, st.one_of(st.none(), st.integers(1, 40)))
def test_the_parts_of_a_layout_are_all_of_it_in_order_and_attend_to_the_same(
    requests: list[tuple[int, list[int]]], rows: int | None
) -> None:
    layout = layout_of(requests)
    parts = layout.parts(rows)
    assert [row for part in parts for row in range(part.rows.start, part.rows.stop)] == list(range(layout.query_rows))
    assert len(parts) <= count_parts(layout.query_rows, rows)
    query, key, value = random_heads(layout, 4, 2, 8)
    found = [sdpa_attention(query[part.rows], key, value, part.layout, 0.3) for part in parts]
    torch.testing.assert_close(torch.cat(found), sdpa_attention(query, key, value, layout, 0.3))


def reference_varlen(query: Any, key: Any, value: Any, starts_q: Any, starts_k: Any, scale: float) -> torch.Tensor:
    """Variable-length causal attention aligned at the bottom right, as the flash kernels define it."""
    key_ranges = []
    for segment in range(len(starts_q) - 1):
        q = query[starts_q[segment] : starts_q[segment + 1]].transpose(0, 1)
        k, v = (kv[starts_k[segment] : starts_k[segment + 1]].transpose(0, 1) for kv in (key, value))
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        k, v = (kv.repeat_interleave(len(q) // len(kv), 0) for kv in (k, v))
        key_ranges.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=scale).transpose(0, 1))
    return torch.cat(key_ranges)


def torch_2_10(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, is_causal: bool = False
) -> Any:
    assert is_causal
    assert query.shape[1] == key.shape[1], "torch 2.10 wants as many key heads as query heads"
    return reference_varlen(query, key, value, cu_seq_q, cu_seq_k, query.shape[-1] ** -0.5)


def torch_2_11(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
    return_aux: Any = None, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
) -> Any:  # fmt: skip
    assert window_size == (-1, 0)
    assert scale is not None
    return reference_varlen(query, key, value, cu_seq_q, cu_seq_k, scale)


def torch_2_13(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
    return_aux: Any = None, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False, seqused_k: Any = None, block_table: Any = None, num_splits: int | None = None,
) -> Any:  # fmt: skip
    assert window_size == (-1, 0)
    assert num_splits == 1
    assert scale is not None
    assert enable_gqa == (query.shape[1] > key.shape[1])
    return reference_varlen(query, key, value, cu_seq_q, cu_seq_k, scale)


@pytest.mark.parametrize("signature", [torch_2_10, torch_2_11, torch_2_13])
@pytest.mark.parametrize("heads", [(4, 2), (2, 2)])
@pytest.mark.parametrize("last_only", [False, True])
def test_every_varlen_signature_is_called_so_that_it_equals_the_definition(
    signature: Callable[..., Any], heads: tuple[int, int], last_only: bool
) -> None:
    layout = layout_of([(5, [3, 1]), (2, [4])], last_only=last_only)
    inputs = random_heads(layout, *heads, 8)
    attend = adapt_varlen(signature)
    torch.testing.assert_close(attend(*inputs, layout, 8**-0.5), by_definition(*inputs, layout, 8**-0.5))


def test_the_installed_torch_has_a_varlen_signature_we_know() -> None:
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="this torch has no varlen attention")
    import inspect

    known = set(inspect.signature(varlen.varlen_attn).parameters)
    assert {"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"} <= known
    assert known & {"window_size", "is_causal"}


def test_a_kernel_that_cannot_scale_is_refused_where_another_scale_is_asked_for() -> None:
    layout = layout_of([(2, [1])])
    with pytest.raises(SettingsError, match="cannot scale"):
        adapt_varlen(torch_2_10)(*random_heads(layout, 2, 2, 8), layout, 0.9)


def test_auto_takes_sdpa_on_the_cpu_and_says_why() -> None:
    choice = choose_attention("auto", CPU, torch.bfloat16)
    assert choice.name == "sdpa"
    assert "CUDA" in choice.reason


@pytest.mark.parametrize("name", ["varlen", "flash_attn", "fa3", "fa4"])
def test_flash_attention_asked_for_on_the_cpu_is_refused_with_the_reason(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"CUDA device.*attention='auto'"):
        choose_attention(name, CPU, torch.bfloat16)


class FakeCuda:
    """What choose_attention asks about a machine, answered for one that is not here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], *installed: str) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(FlashKernel, "is_installed", lambda kernel: kernel.package in installed)
        monkeypatch.setattr(FlashKernel, "load", lambda kernel, _: sdpa_attention)


EVERYTHING = ("torch", "fa3-fwd", "flash-attn-4", "flash-attn")


@pytest.mark.parametrize(
    ("capability", "dtype", "installed", "name", "reason"),
    [
        ((9, 0), torch.bfloat16, ["torch"], "varlen", "inside torch"),
        ((8, 0), torch.float16, EVERYTHING, "varlen", "inside torch"),
        ((9, 0), torch.bfloat16, EVERYTHING, "fa3", "made for this chip"),
        ((9, 0), torch.float16, ["torch", "fa3-fwd"], "varlen", "inside torch"),
        ((9, 0), torch.float16, EVERYTHING, "fa4", "made for this chip"),
        ((10, 0), torch.bfloat16, EVERYTHING, "fa4", "made for this chip"),
        ((10, 0), torch.bfloat16, ["torch", "fa3-fwd"], "varlen", "inside torch"),
        ((8, 9), torch.bfloat16, ["flash-attn"], "flash_attn", "FlashAttention 2"),
        ((9, 0), torch.bfloat16, [], "sdpa", "flash-attn is not installed"),
        ((9, 0), torch.float32, EVERYTHING, "sdpa", "float16 or bfloat16"),
        ((7, 5), torch.float16, EVERYTHING, "sdpa", "7.5"),
    ],
)
def test_the_choice_on_cuda_follows_dtype_capability_and_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    dtype: torch.dtype,
    installed: list[str],
    name: str,
    reason: str,
) -> None:
    FakeCuda(monkeypatch, capability, *installed)
    choice = choose_attention("auto", torch.device("cuda"), dtype)
    assert choice.name == name
    assert reason in choice.reason
    assert choice.gathers == (name != "sdpa")


@pytest.mark.parametrize(
    ("name", "capability", "dtype", "why"),
    [
        ("fa3", (8, 0), torch.bfloat16, r"fa3-fwd is made for compute capability 9.x, this device has 8.0"),
        ("fa3", (9, 0), torch.float16, "needs bfloat16, this is float16"),
        ("fa4", (8, 9), torch.bfloat16, "flash-attn-4 is made for compute capability 9.x or 10.x"),
        ("varlen", (7, 5), torch.float16, "compute capability 8.0"),
    ],
)
def test_a_kernel_asked_for_on_another_chip_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: Any, capability: tuple[int, int], dtype: torch.dtype, why: str
) -> None:
    FakeCuda(monkeypatch, capability, *EVERYTHING)
    with pytest.raises(SettingsError, match=f"{why}.*attention='auto'"):
        choose_attention(name, torch.device("cuda"), dtype)


@pytest.mark.parametrize(("name", "extra"), [("flash_attn", "flash"), ("fa3", "fa3"), ("fa4", "fa4")])
def test_a_kernel_asked_for_and_not_installed_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: Any, extra: str
) -> None:
    FakeCuda(monkeypatch, (9, 0))
    with pytest.raises(MissingExtraError, match=rf"qwen3-rerank-plugins\[{extra}\]"):
        choose_attention(name, torch.device("cuda"), torch.bfloat16)


def test_an_installed_kernel_that_does_not_load_is_passed_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For instance one that was built for another torch. Version 4 also makes an empty package flash_attn appear."""

    def load(kernel: FlashKernel, _: Any) -> Any:
        if kernel.package == "fa3-fwd":
            raise OSError("undefined symbol: aoti_torch")
        return sdpa_attention

    FakeCuda(monkeypatch, (9, 0), "fa3-fwd", "torch")
    monkeypatch.setattr(FlashKernel, "load", load)
    assert choose_attention("auto", torch.device("cuda"), torch.bfloat16).name == "varlen"
    assert "fa3-fwd does not load: OSError: undefined symbol: aoti_torch" in caplog.text


def flash_attn_varlen_func(
    q: Any, k: Any, v: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: int, max_seqlen_k: int,
    dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, alibi_slopes: Any = None,
    deterministic: bool = False, return_attn_probs: bool = False, block_table: Any = None,
) -> torch.Tensor:  # fmt: skip
    """What the package flash-attn documents, a query at a time: any whole number of query heads for a key/value head,
    and with `causal` a mask that is aligned at the bottom right."""
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert max_seqlen_q >= int(cu_seqlens_q.diff().max())
    assert max_seqlen_k >= int(cu_seqlens_k.diff().max())
    assert q.shape[1] % k.shape[1] == 0
    assert len(q) == cu_seqlens_q[-1]
    assert len(k) == len(v) == cu_seqlens_k[-1]
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    group = q.shape[1] // k.shape[1]
    attended = torch.zeros_like(q)
    for queries, keys in zip(spans(cu_seqlens_q), spans(cu_seqlens_k), strict=True):
        for row in queries:
            left_out = (queries.stop - 1 - row) if causal else 0
            seen = slice(keys.start, max(keys.start, keys.stop - left_out))
            for head in range(q.shape[1]):
                weights = (k[seen, head // group] @ q[row, head] * scale).softmax(0)
                attended[row, head] = weights @ v[seen, head // group]
    return attended


def with_log_sum_exp(*arguments: Any, **options: Any) -> tuple[torch.Tensor, None]:
    """What version 4 returns."""
    return flash_attn_varlen_func(*arguments, **options), None


def spans(starts: torch.Tensor) -> list[range]:
    return [range(one, other) for one, other in itertools.pairwise(starts.tolist())]


@pytest.mark.parametrize("heads", [(4, 2), (2, 2), (8, 1)])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("scale", [8**-0.5, 0.9])
def test_the_packages_of_flash_attention_are_called_so_that_they_equal_sdpa(
    heads: tuple[int, int], last_only: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(FlashKernel, "is_installed", lambda _: True)
    for name, module, function in (
        ("flash_attn", "flash_attn", flash_attn_varlen_func),
        ("fa3", "fa3_fwd_interface", flash_attn_varlen_func),
        ("fa4", "flash_attn.cute", with_log_sum_exp),
    ):
        double = types.ModuleType(module)
        double.flash_attn_varlen_func = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, double)
        monkeypatch.setitem(sys.modules, module.partition(".")[0], double)
        choice = choose_attention(name, torch.device("cuda"), torch.bfloat16)  # type: ignore[arg-type]
        assert (choice.name, choice.reason) == (name, "asked for")
        for requests in ([(5, [3, 1]), (2, [4])], [(1, [6])], [(7, [1, 1, 2])], [(20, [1] * 9)]):
            layout = layout_of(requests, last_only=last_only)
            inputs = random_heads(layout, *heads, 8)
            found = choice.attend(*inputs, layout, scale)
            torch.testing.assert_close(found, sdpa_attention(*inputs, layout, scale))
            torch.testing.assert_close(found, by_definition(*inputs, layout, scale))
