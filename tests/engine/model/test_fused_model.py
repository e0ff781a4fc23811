"""The pass for GPUs against the plain pass and the modules' own forward, and its kernels counted one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.kernels.layer_kernels import LayerKernels, TorchKernels
from qwen3_rerank_plugins.engine.kernels.triton_kernels import TritonKernels
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.quantization import quantize_layers
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.model.attention import adapt_flash_attn, gather_rows
from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.fused_model import FusedModel, fuse
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests import meta_models
from tests.checkpoint_kinds import make_adapter
from tests.checkpoints import SHAPES, load_reference
from tests.engine.loading.test_device_map import FIRST, SECOND, follows, spread
from tests.engine.model.test_attention import flash_attn_varlen_func
from tests.engine.model.test_packed_model import one_by_one, random_requests
from tests.live_memory import LiveMemory
from tests.optional import need
from tests.pretend import pretended_gpus

LARGE = PUBLISHED["Qwen/Qwen3-Reranker-8B"]


def run(model: Any, kind: Callable[[Any], Any], requests: list[TokenizedRequest]) -> torch.Tensor:
    """Hidden states of the last tokens, request after request."""
    (plan,) = plan_batches([Workload.of(request) for request in requests], 10_000)
    batch = build_batch(requests, plan).to(model.model.embed_tokens.weight.device)
    with torch.inference_mode():
        found = kind(model.model)(batch)
    places = [(part.request, document) for part in plan.slices for document in part.documents]
    return found[sorted(range(len(places)), key=places.__getitem__)]


def plain(backbone: Any) -> PackedModel:
    return PackedModel(backbone, sdpa_attention)


@pytest.mark.parametrize("kernels", [TorchKernels(), TritonKernels()], ids=["torch", "triton interpreted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_hidden_states_equal_those_of_whole_prompts(
    shape: str, kernels: LayerKernels, checkpoint: Callable[[str], Path]
) -> None:
    model = load_reference(checkpoint(shape), torch.float32)
    attend = adapt_flash_attn(flash_attn_varlen_func, kernels.gather)
    found = run(model, lambda backbone: FusedModel(backbone, attend, kernels), random_requests())
    torch.testing.assert_close(found, one_by_one(model, random_requests()), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [TorchKernels(), TritonKernels()], ids=["torch", "triton interpreted"])
def test_in_bfloat16_the_fused_pass_is_as_close_to_float32_as_the_plain_one(
    kernels: LayerKernels, checkpoint: Callable[[str], Path]
) -> None:
    exact = run(load_reference(checkpoint("grouped"), torch.float32), plain, random_requests())
    model = load_reference(checkpoint("grouped"), torch.bfloat16)
    apart = (run(model, plain, random_requests()) - exact).square().mean().sqrt()
    fused = run(model, lambda backbone: FusedModel(backbone, sdpa_attention, kernels), random_requests())
    assert (fused - exact).square().mean().sqrt() < 2 * apart


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_layers_that_are_not_matrices_keep_products_of_their_own(mode: Any, checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    quantize_layers(model, mode, torch.device("cpu"), torch.float32)
    assert fuse((model.model.layers[0].mlp.gate_proj, model.model.layers[0].mlp.up_proj)) is None
    found = run(model, lambda backbone: FusedModel(backbone, sdpa_attention, TorchKernels()), random_requests())
    torch.testing.assert_close(found, run(model, plain, random_requests()), atol=1e-4, rtol=1e-4)


def test_a_merged_adapter_is_fused_with_its_weights(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    need("peft")
    make_adapter(checkpoint("one-layer"), tmp_path, target_modules="all-linear")
    settings = EngineSettings(model=str(tmp_path), device="cpu", dtype="float32")
    merged = load_model(settings, find_checkpoint(settings)).causal_lm
    expected = one_by_one(merged, random_requests())
    found = run(merged, lambda backbone: FusedModel(backbone, sdpa_attention, TorchKernels()), random_requests())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    without = one_by_one(load_reference(checkpoint("one-layer"), torch.float32), random_requests())
    assert (found - without).abs().max() > 0.1


def test_a_spread_model_gives_the_scores_of_one_on_one_device(checkpoint: Callable[[str], Path]) -> None:
    def fused(backbone: Any) -> FusedModel:
        return FusedModel(backbone, follows, TorchKernels())

    expected = run(load_reference(checkpoint("grouped"), torch.float32), fused, random_requests())
    for second_from in range(SHAPES["grouped"]["num_hidden_layers"] + 1):
        model = load_reference(checkpoint("grouped"), torch.float32)
        with pretended_gpus() as gpus, pytest.MonkeyPatch.context() as patched:
            current = [FIRST]
            patched.setattr(torch.cuda, "set_device", lambda device, current=current: current.append(device))
            found = run(spread(model, second_from), fused, random_requests())
        torch.testing.assert_close(found.as_subclass(torch.Tensor), expected, atol=1e-4, rtol=1e-4)
        assert current[-1] == SECOND, "kernels run on the current GPU"
        assert [move for move in gpus.moves if move == (FIRST, SECOND)]


def test_fused_weights_are_the_only_copy_and_hold_the_same_numbers(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    FusedModel(model.model, sdpa_attention, TorchKernels())
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    storages = {
        (one.data_ptr(), one.nbytes()) for one in (parameter.untyped_storage() for parameter in model.parameters())
    }
    assert sum(size for _, size in storages) == sum(parameter.nbytes for parameter in model.parameters())


def test_fusing_needs_the_weights_and_one_layer_at_most() -> None:
    layers = 6
    model = meta_models.backbone(LARGE, layers)
    weights, of_layers = (sum(one.nbytes for one in part.parameters()) for part in (model, model.layers))
    live = LiveMemory("meta")
    live.watch(*model.parameters())
    assert live.peak == weights
    with live:
        FusedModel(model, sdpa_attention, TorchKernels())
    assert weights < live.peak <= weights + of_layers / layers


SYNCHRONIZING = ("item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


def test_a_layer_of_the_8b_takes_ten_kernels_and_waits_for_nothing() -> None:
    """The difference between two depths is one layer. Views take no kernel."""
    batch = meta_models.batch_of((80, [106] * 100))
    counts = [meta_models.run(meta_models.backbone(LARGE, layers), batch).kernels for layers in (2, 3)]
    assert counts[1] - counts[0] == {
        "qwen3_rerank::add_and_normalize": 2,
        "qwen3_rerank::normalize_and_rotate": 1,
        "qwen3_rerank::gather": 1,
        "qwen3_rerank::gate": 1,
        "torch_attn::_varlen_attn": 1,
        "aten::linear": 4,
    }
    once = counts[0].total() - 2 * (counts[1] - counts[0]).total()
    assert once <= 32, "the embedding, the rotation, the rows of the last layer, the final norm"
    assert not [name for name in counts[1] if name.split("::")[1].split(".")[0] in SYNCHRONIZING]


def test_no_head_is_repeated_and_no_whole_activation_is_copied_to_float32() -> None:
    batch = meta_models.batch_of((80, [106] * 100))
    tokens = len(batch.input_ids)
    live = meta_models.run(meta_models.backbone(LARGE, 3), batch)
    float32 = [shape for shape, dtype in live.made if dtype == torch.float32 and len(shape) == 2 and shape[0] == tokens]
    assert float32 == [(tokens, LARGE.hidden)], "the residual stream, made once"
    gathered = [shape for shape, _ in live.made if shape[-2:] == (LARGE.key_value_heads, LARGE.head_dim)]
    assert gathered
    keys = max(len(call.kv_indices) for call in meta_models.calls_of(batch))
    assert not [shape for shape, _ in live.made if shape[-2:] == (LARGE.heads, LARGE.head_dim) and keys in shape]


def test_plain_gathering_takes_the_rows_of_both() -> None:
    key, value = torch.randn(5, 2, 4), torch.randn(5, 2, 4)
    rows = torch.tensor([4, 0, 0], dtype=torch.int32)
    assert all(map(torch.equal, gather_rows(key, value, rows), (key[[4, 0, 0]], value[[4, 0, 0]])))
