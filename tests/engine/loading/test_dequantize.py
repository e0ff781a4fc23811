"""Quantised checkpoints score as the numbers that their files stand for, and take the memory that is said."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.loading.quantization import Int4Linear, Int8Linear
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import (
    IncompleteCheckpointError,
    RequestError,
    SettingsError,
    UnsupportedCheckpointError,
)
from tests.checkpoint_kinds import change_json, make_bitsandbytes, make_compressed, make_fp8
from tests.checkpoints import GROUPED, load_reference, make_checkpoint
from tests.parity.test_fine_tunes import PAIRS, log_odds
from tests.references import CardReference

WIDE = {**GROUPED, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}  # more than one block of fp8
PACKED: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4, packed scales": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True},
    "nf4 stored as bfloat16": {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"},
    "all but one kind of matrix": {"load_in_8bit": True, "llm_int8_skip_modules": ["v_proj", "lm_head"]},
}
COMPRESSED: dict[str, dict[str, Any]] = {
    "8 bits": {"bits": 8, "kind": "int"},
    "4 bits": {"bits": 4, "kind": "int", "group": 32},
    "8-bit floats": {"bits": 8, "kind": "float"},
}


@pytest.fixture(scope="session")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("unpacking") / "base", tokenizer=DEMO_FOLDER, **WIDE)


def load(folder: Path, **options: Any) -> LoadedModel:
    settings = EngineSettings(**{"model": str(folder), "device": "cpu", **options})
    return load_model(settings, find_checkpoint(settings))


def unpacked(folder: Path) -> dict[str, torch.Tensor]:
    """What bitsandbytes says that its own layers stand for."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, device_map={"": "cpu"})
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
            found[f"{name}.weight"] = layer.weight.data * layer.weight.SCB[:, None] / 127
        elif isinstance(layer, bitsandbytes.nn.Linear4bit):
            state = layer.weight.quant_state
            state.dtype = torch.float32
            found[f"{name}.weight"] = bitsandbytes.functional.dequantize_4bit(layer.weight.data, state)
    return found


def reference(base: Path, meant: dict[str, torch.Tensor]) -> list[float]:
    """The card's path over the weights that are meant."""
    card = CardReference(base)
    assert set(card.model.load_state_dict(meant, strict=False).unexpected_keys) == set()
    return card.log_odds(PAIRS)


@pytest.mark.parametrize("packing", PACKED)
def test_weights_of_bitsandbytes_score_as_the_numbers_they_stand_for(packing: str, base: Path, tmp_path: Path) -> None:
    folder = make_bitsandbytes(base, tmp_path / "packed", **PACKED[packing])
    meant = unpacked(folder)
    assert len(meant) >= 12
    assert log_odds(folder) == pytest.approx(reference(base, meant), abs=1e-4)


@pytest.mark.parametrize(("mode", "packing"), [("int8", "int8"), ("int4", "nf4"), ("int4", "nf4, packed scales")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_they_stay_packed_and_take_what_is_predicted(
    mode: Any, packing: str, dtype: Any, base: Path, tmp_path: Path
) -> None:
    folder = make_bitsandbytes(base, tmp_path / "packed", **PACKED[packing])
    loaded = load(folder, dtype=dtype)
    model, placement = loaded.causal_lm, loaded.placement
    kinds = {type(module) for module in model.model.layers[0].self_attn.children() if hasattr(module, "codes")}
    assert kinds == {Int8Linear if mode == "int8" else Int4Linear}
    assert (placement.quantization.name, placement.rows_at_once) == (mode, None)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    scales = [buffer for name, buffer in model.named_buffers() if name.endswith(("codes", "scales"))]
    resident = sum(tensor.nbytes for tensor in [*model.parameters(), *scales])
    assert resident == Shape.from_config(find_checkpoint(EngineSettings(model=str(folder))).config).weight_bytes(
        getattr(torch, dtype), mode
    )


def test_what_bitsandbytes_left_out_stays_as_it_was(base: Path, tmp_path: Path) -> None:
    folder = make_bitsandbytes(base, tmp_path / "packed", **PACKED["all but one kind of matrix"])
    attention = load(folder).causal_lm.model.layers[0].self_attn
    assert type(attention.v_proj) is nn.Linear
    assert torch.equal(attention.v_proj.weight, load_reference(base).model.layers[0].self_attn.v_proj.weight)


def test_fp8_weights_are_turned_back_into_the_numbers_they_stand_for(base: Path, tmp_path: Path) -> None:
    meant = make_fp8(base, tmp_path / "fp8")
    assert log_odds(tmp_path / "fp8") == pytest.approx(reference(base, meant), abs=1e-4)


def test_fp8_blocks_at_the_edge_of_a_matrix_may_be_short(tmp_path: Path, data: Path) -> None:
    """160 rows with two scales are a block of 128 and one of 32."""
    base = make_checkpoint(tmp_path / "base", tokenizer=DEMO_FOLDER, **{**WIDE, "intermediate_size": 160})
    meant = make_fp8(base, tmp_path / "fp8")
    assert log_odds(tmp_path / "fp8") == pytest.approx(reference(base, meant), abs=1e-4)


FP8_SCALES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one a matrix": lambda weight: weight.abs().max().reshape(1),
    "one a matrix, without a dimension": lambda weight: weight.abs().max(),
    "one a row": lambda weight: weight.abs().amax(1, keepdim=True),
    "one a row, flat": lambda weight: weight.abs().amax(1),
}


def rewrite_fp8(base: Path, folder: Path, scale_of: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """As tools write it that scale activations by a constant; returns the weights that are meant."""
    shutil.copytree(base, folder)
    tensors, meant = load_file(base / "model.safetensors"), {}
    for name, weight in list(tensors.items()):
        if "proj" in name:
            scale = scale_of(weight) / 448
            spread = scale.reshape(-1, 1) if scale.numel() > 1 else scale
            tensors[name] = (weight / spread).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale"] = scale.contiguous()
            tensors[f"{name.removesuffix('.weight')}.input_scale"] = torch.tensor(0.5)
            meant[name] = tensors[name].float() * spread
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.k_scale"] = torch.ones(1)
        tensors[f"model.layers.{layer}.self_attn.v_scale"] = torch.ones(1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    written = {"quant_method": "fp8", "activation_scheme": "static", "kv_cache_scheme": "static"}
    change_json(folder / "config.json", quantization_config=written)
    return meant


@pytest.mark.parametrize("scales", FP8_SCALES)
def test_fp8_with_scales_of_matrices_rows_activations_and_caches_scores_as_what_its_weights_stand_for(
    scales: str, base: Path, tmp_path: Path
) -> None:
    meant = rewrite_fp8(base, tmp_path / "fp8", FP8_SCALES[scales])
    assert log_odds(tmp_path / "fp8") == pytest.approx(reference(base, meant), abs=1e-4)


@pytest.mark.parametrize("scale", [None, torch.ones(3), torch.ones(2, 2)], ids=["none", "three", "four"])
def test_fp8_without_a_scale_that_fits_is_incomplete(scale: torch.Tensor | None, base: Path, tmp_path: Path) -> None:
    rewrite_fp8(base, tmp_path / "fp8", FP8_SCALES["one a row"])
    tensors = load_file(tmp_path / "fp8" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight_scale"
    tensors.pop(name)
    if scale is not None:
        tensors[name] = scale
    save_file(tensors, tmp_path / "fp8" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IncompleteCheckpointError, match=r"up_proj\.weight .*scale"):
        load(tmp_path / "fp8")


def test_compressed_tensors_with_scales_of_a_cache_and_of_activations_score_without_them(
    base: Path, tmp_path: Path
) -> None:
    meant = make_compressed(base, tmp_path / "packed", **COMPRESSED["8-bit floats"])
    file = tmp_path / "packed" / "model.safetensors"
    tensors = load_file(file)
    for layer in range(2):
        for part in ("k_scale", "v_scale"):
            tensors[f"model.layers.{layer}.self_attn.{part}"] = torch.ones(1)
        tensors[f"model.layers.{layer}.mlp.up_proj.input_scale"] = torch.ones(1)
    save_file(tensors, file, metadata={"format": "pt"})
    assert log_odds(tmp_path / "packed") == pytest.approx(reference(base, meant), abs=1e-4)


@pytest.mark.parametrize("packing", COMPRESSED)
def test_compressed_tensors_are_turned_back_into_the_numbers_they_stand_for(
    packing: str, base: Path, tmp_path: Path
) -> None:
    meant = make_compressed(base, tmp_path / "packed", **COMPRESSED[packing])
    assert log_odds(tmp_path / "packed") == pytest.approx(reference(base, meant), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_turned_back_is_plain_in_one_dtype_and_says_so(
    dtype: Any, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_fp8(base, tmp_path / "fp8")
    with caplog.at_level(logging.INFO, logger="qwen3_rerank_plugins"):
        loaded = load(tmp_path / "fp8", dtype=dtype)
    assert {parameter.dtype for parameter in loaded.causal_lm.parameters()} == {getattr(torch, dtype)}
    assert {type(module) for module in loaded.causal_lm.modules() if hasattr(module, "in_features")} == {nn.Linear}
    assert loaded.placement.quantization.name is None
    assert "fp8 weights are dequantized" in caplog.text


def test_another_quantization_a_rescue_in_float32_and_a_map_of_devices_are_refused(base: Path, tmp_path: Path) -> None:
    make_fp8(base, tmp_path / "fp8")
    folder = make_bitsandbytes(base, tmp_path / "packed", load_in_8bit=True)
    for model in (folder, tmp_path / "fp8"):
        with pytest.raises(SettingsError, match="already quantized by"):
            load(model, quantization="int4")
    with (
        Qwen3Reranker(str(folder), device="cpu", on_nonfinite="float32") as reranker,
        pytest.raises(RequestError, match="needs unquantized weights, and .* is quantized by bitsandbytes"),
    ):
        reranker.rank("a question", ["a text"])
    with pytest.raises(SettingsError, match="cannot spread weights that stay packed by bitsandbytes"):
        load(folder, device="auto", device_map="auto")
    assert load(tmp_path / "fp8", device="auto", device_map="auto").placement.quantization.name is None


def test_a_packed_output_matrix_is_refused(base: Path, tmp_path: Path) -> None:
    shape = {**WIDE, "tie_word_embeddings": False}
    folder = make_checkpoint(tmp_path / "untied", tokenizer=DEMO_FOLDER, **shape)
    packed = make_bitsandbytes(folder, tmp_path / "packed", load_in_8bit=True, llm_int8_skip_modules=["v_proj"])
    with pytest.raises(UnsupportedCheckpointError, match=r"plain numbers are packed by bitsandbytes: lm_head\.weight"):
        load(packed)


def test_what_an_older_transformers_would_leave_packed_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_compressed(base, tmp_path / "packed", **COMPRESSED["8-bit floats"])
    from qwen3_rerank_plugins.engine.loading import loader as weights

    def forget(*arguments: Any) -> Any:
        config = original(*arguments)
        config.quantization_config.pop("dequantize")
        return config

    original = weights.dequantizing_config
    monkeypatch.setattr(weights, "dequantizing_config", forget)
    with pytest.raises(UnsupportedCheckpointError, match="a newer transformers"):
        load(tmp_path / "packed")


def test_a_config_that_promises_what_the_files_do_not_hold_is_refused(
    checkpoint: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    folder = make_bitsandbytes(base, tmp_path / "packed", load_in_8bit=True)
    change_json(folder / "config.json", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    with pytest.raises(Exception, match="cannot load|incomplete"):
        load(folder)
