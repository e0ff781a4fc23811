"""The packed pass against the modules' own forward, position by position where it matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.linear import pack_layers
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel, rows_at_once
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.checkpoints import SHAPES, load_reference

CPU = torch.device("cpu")


def random_requests(seed: int = 0) -> list[TokenizedRequest]:
    dice = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 151_000, (length,), generator=dice).tolist())

    return [
        TokenizedRequest(ids(17), (ids(5), ids(1), ids(30)), (0, 1, 2), (0, 0, 0)),
        TokenizedRequest(ids(3), (ids(2),), (0,), (0,)),
        TokenizedRequest(ids(40), (ids(8), ids(8)), (0, 1), (0, 0)),
    ]


def packed(
    model: torch.nn.Module,
    requests: list[TokenizedRequest],
    *,
    compile: bool = False,
    rows_at_once: int | None = None,
    kind: type[PackedModel] = PackedModel,
) -> torch.Tensor:
    """Hidden states of the last tokens, request after request."""
    work = [Workload.of(request) for request in requests]
    (plan,) = plan_batches(work, 10_000)
    with torch.inference_mode():
        run = kind(model.model, sdpa_attention, compile=compile, rows_at_once=rows_at_once)
        found = run(build_batch(requests, plan))
    places = [(part.request, tail) for part in plan.slices for tail in part.documents]
    return found[sorted(range(len(places)), key=places.__getitem__)]


def one_by_one(model: torch.nn.Module, requests: list[TokenizedRequest]) -> torch.Tensor:
    """The slow twin: every prompt alone and whole through transformers' own forward."""
    with torch.inference_mode():
        return torch.cat(
            [
                model.model(torch.tensor([[*request.prefix, *tail]])).last_hidden_state[:, -1]
                for request in requests
                for tail in request.document_ids
            ]
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_hidden_states_equal_those_of_whole_prompts(shape: str, checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint(shape), torch.float32)
    requests = random_requests()
    torch.testing.assert_close(packed(model, requests), one_by_one(model, requests), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 7, 30, 64, 1024])
def test_how_many_rows_go_at_once_changes_nothing(rows: int, checkpoint: Callable[[str], Path]) -> None:
    model, requests = load_reference(checkpoint("grouped"), torch.float32), random_requests()
    torch.testing.assert_close(
        packed(model, requests, rows_at_once=rows), packed(model, requests), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("rows", [None, 7])
def test_packed_weights_change_nothing(rows: int | None, checkpoint: Callable[[str], Path]) -> None:
    model, requests = load_reference(checkpoint("grouped"), torch.float32), random_requests()
    expected = packed(model, requests)
    pack_layers(model)
    torch.testing.assert_close(packed(model, requests, rows_at_once=rows), expected, atol=1e-4, rtol=1e-4)


def test_a_cpu_takes_some_rows_at_a_time_a_gpu_and_quantised_matrices_all() -> None:
    assert rows_at_once(CPU, quantized=False) == 1024
    assert rows_at_once(torch.device("cuda"), quantized=False) is None
    assert rows_at_once(CPU, quantized=True) is None


def test_the_last_hidden_states_are_float32_in_any_dtype(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.bfloat16)
    assert packed(model, random_requests()).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler warns about torch
def test_compiled_layers_give_the_same_hidden_states(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    for seed in (0, 1):
        requests = random_requests(seed)[: 3 - seed]
        torch.testing.assert_close(packed(model, requests, compile=True), packed(model, requests), atol=1e-4, rtol=1e-4)


def test_the_loaded_parameters_are_never_changed(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    packed(model, random_requests())
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
