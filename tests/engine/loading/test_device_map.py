"""One model on several devices: accelerate's map, the packed pass that follows the layers, and the whole line.

There is no second device here. The map is asked for GPUs that are not there, as it only counts; the pass runs on
devices that pretend, with real numbers; `device_map="auto"` itself runs, and puts everything on the CPU.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import accelerate
import pytest
import torch
import transformers

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import auto_budget, choose_budget
from qwen3_rerank_plugins.engine.loading.device_map import choose_map
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model import sdpa
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.float32 import Float32Backbone
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import DeviceMemoryError
from tests.checkpoints import SHAPES, load_reference
from tests.engine.model.test_packed_model import random_requests
from tests.optional import PARTIAL
from tests.pretend import GPUS, place, pretended_gpus

GIB = 2**30
FIRST, SECOND = GPUS
QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", "Cities. " * 90, ""]


counting = pytest.mark.skipif(
    PARTIAL in os.environ and not torch.accelerator.is_available() and accelerate.__version__ < "1.1",
    reason="accelerate of that age counts GPUs only where there is one",
)


@pytest.fixture
def config_of_the_8b(data: Path, tmp_path: Path) -> Path:
    shutil.copy(data / "configs" / "qwen3-reranker-8b.config.json", tmp_path / "config.json")
    return tmp_path


@counting
def test_layers_stay_whole_and_follow_each_other_over_the_devices(config_of_the_8b: Path) -> None:
    spread = choose_map(config_of_the_8b, torch.bfloat16, {0: 12 * GIB, 1: 12 * GIB, "cpu": 99 * GIB})
    shape = Shape.from_config(json.loads((config_of_the_8b / "config.json").read_text(encoding="utf-8")))
    assert tuple(spread.weights) == GPUS
    assert sum(spread.weights.values()) == pytest.approx(shape.weight_bytes(torch.bfloat16), rel=1e-3)
    assert max(spread.weights.values()) < 9 * GIB, "neither holds much more than half"
    layers = [spread.devices[f"model.layers.{index}"] for index in range(shape.layers)]
    assert layers == sorted(layers, key=int)
    first = layers.count(0)
    assert spread.describe() == f"layers 0-{first - 1} on cuda:0, {first}-{shape.layers - 1} on cuda:1"


@counting
@pytest.mark.parametrize(
    "most", [{0: 4 * GIB, 1: 4 * GIB, "cpu": 99 * GIB}, {0: 4 * GIB, 1: 4 * GIB, "cpu": 0}], ids=str
)
def test_what_would_be_left_to_the_cpu_or_the_disk_is_refused_with_what_to_do(
    config_of_the_8b: Path, most: dict[int | str, int]
) -> None:
    with pytest.raises(DeviceMemoryError, match=r"cannot fit \d+\.\d of 15\.3 GiB .*show more GPUs .*'int4' on one"):
        choose_map(config_of_the_8b, torch.bfloat16, most)


def follows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scale: float
) -> torch.Tensor:
    """Attention that needs its layout where its queries are, as the kernels of a GPU do."""
    assert layout.device == query.device == key.device == value.device
    return sdpa_attention(query, key, value, layout, scale)


def run(model: Any, backbone: Any = None, attention: Attention = follows, rows: int | None = None) -> torch.Tensor:
    requests = random_requests()
    (plan,) = plan_batches([Workload(len(one.prefix), tuple(map(len, one.document_ids))) for one in requests], 10_000)
    with torch.inference_mode():
        batch = build_batch(requests, plan).to(model.model.embed_tokens.weight.device)
        hidden = PackedModel(backbone or model.model, attention, rows_at_once=rows)(batch)
        return YesNoHead(model, 1, 2)(hidden)


def spread(model: Any, second_from: int) -> Any:
    """As accelerate does it: embeddings, output and first layers here, the other layers, norm and rotation there."""
    place(model, FIRST)
    for module in (*model.model.layers[second_from:], model.model.norm, model.model.rotary_emb):
        place(module, SECOND)
    return model


@pytest.mark.parametrize("shape", ["grouped", "untied", "one-layer"])
@pytest.mark.parametrize("rows", [None, 40])
def test_a_spread_model_gives_the_scores_of_one_on_one_device(
    shape: str, rows: int | None, checkpoint: Callable[[str], Path]
) -> None:
    on_one = load_reference(checkpoint(shape), torch.float32)
    on_a_cpu = run(on_one, rows=rows)
    with pretended_gpus():
        place(on_one, FIRST)
        expected = run(on_one, rows=rows).as_subclass(torch.Tensor)
    torch.testing.assert_close(expected, on_a_cpu, atol=1e-4, rtol=1e-4)  # norms have other kernels there
    for second_from in range(SHAPES[shape]["num_hidden_layers"] + 1):
        model = load_reference(checkpoint(shape), torch.float32)
        with pretended_gpus():
            found = run(spread(model, second_from), rows=rows)
        assert torch.equal(found.as_subclass(torch.Tensor), expected)


def test_what_flows_moves_once_where_the_device_changes(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    with pretended_gpus() as gpus:
        run(spread(model, 1))
    between = [move for move in gpus.moves if move[0] in GPUS]
    rotation, flowing, scores = [(SECOND, FIRST)], [(FIRST, SECOND)] * 4, [(SECOND, FIRST)]
    assert between == [*rotation, *flowing, *scores], "hidden, cosines, sines, and all index tensors as one"


def test_on_one_device_nothing_moves(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    met: set[int] = set()

    def watched(*arguments: Any) -> torch.Tensor:
        met.add(id(arguments[3]))
        return follows(*arguments)

    with pretended_gpus() as gpus:
        place(model, FIRST)
        run(model, attention=watched)
    assert [move for move in gpus.moves if move[0] in GPUS] == []
    assert len(met) == 2, "a layout was made again, and its index tensors with it"


def test_a_gpu_without_flash_attention_takes_queries_in_blocks_of_its_own(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    with pretended_gpus():
        place(model, FIRST)
        whole = run(model)
        with mock.patch.object(sdpa, "_BLOCK", 4):
            in_blocks = run(model)
    torch.testing.assert_close(in_blocks.as_subclass(torch.Tensor), whole.as_subclass(torch.Tensor))
    assert not torch.equal(in_blocks, whole), "blocks are rounded apart; equal bits mean that there were none"


def test_scores_that_overflowed_are_rescued_in_a_spread_model_too(checkpoint: Callable[[str], Path]) -> None:
    expected = run(load_reference(checkpoint("grouped"), torch.bfloat16).float())
    model = load_reference(checkpoint("grouped"), torch.bfloat16)
    with pretended_gpus():
        found = run(spread(model, 2), Float32Backbone(model.model))
    torch.testing.assert_close(found.as_subclass(torch.Tensor), expected, atol=1e-4, rtol=1e-4)


def test_the_pretended_devices_do_not_meet_in_one_kernel(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.float32)
    with pretended_gpus(), pytest.raises(RuntimeError, match=r"linear: \['cuda:0', 'cuda:1'\] meet"):
        place(model, FIRST)
        place(model.model.layers[1].mlp.gate_proj, SECOND)
        run(model)


def test_auto_runs_here_on_the_cpu_and_gives_the_plain_scores() -> None:
    with Qwen3Reranker("demo", device="cpu") as plain, Qwen3Reranker("demo", device_map="auto") as mapped:
        assert mapped.rank(QUERY, DOCUMENTS) == plain.rank(QUERY, DOCUMENTS)


def test_no_hook_of_accelerate_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there only with several devices, so they are asked for."""
    dispatch = functools.partial(accelerate.dispatch_model, force_hooks=True)
    hooked: list[str] = []

    def dispatch_model(model: Any, device_map: Any, **options: Any) -> None:
        dispatch(model, device_map=device_map)
        hooked.extend(name for name, module in model.named_modules() if hasattr(module, "_hf_hook"))

    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        loaded = original(*arguments, **options)
        dispatch_model(loaded[0], options["device_map"])
        return loaded

    original = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    settings = EngineSettings(model="demo", device_map="auto")
    loaded = load_model(settings, find_checkpoint(settings))
    assert "model.layers.0.self_attn.q_proj" in hooked
    assert not any(hasattr(module, "_hf_hook") for module in loaded.causal_lm.modules())


def test_the_device_with_the_least_memory_decides_how_large_a_pass_is(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EngineSettings(model="demo", device="cpu")
    loaded = load_model(settings, find_checkpoint(settings))
    memory = BatchMemory.of(Shape.from_config(loaded.causal_lm.config.to_dict()), loaded.placement)
    free = {"cpu": 90 * 2**20, "meta": 60 * 2**20}
    monkeypatch.setattr("qwen3_rerank_plugins.engine.loading.budget.free_memory", lambda device: free[device.type])
    assert loaded.devices == [torch.device("cpu")]
    assert choose_budget("auto", loaded) == auto_budget(memory, free["cpu"])
    assert choose_budget("auto", loaded, sharing=2) == auto_budget(memory, free["cpu"] // 2)
    loaded.causal_lm.model.layers[1].to("meta")
    assert choose_budget("auto", loaded) == auto_budget(memory, free["meta"])
