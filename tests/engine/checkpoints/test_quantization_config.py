"""What a config.json says about quantized weights: read, or refused by the name of the method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization, read_quantization_config
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError


def read(quantization_config: Any) -> CheckpointQuantization | None:
    return read_quantization_config("a model", {"quantization_config": quantization_config})


def test_plain_weights_are_not_quantized() -> None:
    assert read_quantization_config("a model", {}) is None
    assert read(None) is None
    assert read({}) is None


@pytest.mark.parametrize(
    ("written", "method", "packed_mode"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes", "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes", "int4"),
        ({"load_in_4bit": True}, "bitsandbytes", "int4"),  # as the first exports had it
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", None),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors", None),
    ],
)
def test_what_is_read_is_named_and_what_becomes_of_it(written: Any, method: str, packed_mode: str | None) -> None:
    found = read(written)
    assert found is not None
    assert (found.method, found.packed_mode) == (method, packed_mode)


METHODS = ["gptq", "awq", "torchao", "hqq", "eetq", "quanto", "aqlm", "spqr", "fbgemm_fp8", "mxfp4", "gguf", "tomorrow"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_read_is_refused_with_what_to_use_instead(method: str) -> None:
    with pytest.raises(
        UnsupportedCheckpointError, match=rf"quantized by {method}\. Supported are.*quantization='int4'"
    ):
        read({"quant_method": method, "bits": 4})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"group_size": 64, "bits": 4}, r"MLX \(bits 4, group_size 64\)"),
        ({"quant_algo": "NVFP4"}, "ModelOpt"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "ModelOpt"),
        ({"quant_method": "modelopt"}, "ModelOpt"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes, neither in 8 nor in 4 bits"),
        (
            {"quant_method": None, "scheme": "x"},
            r"does not name \(it says 'quant_method', 'scheme'\)",
        ),
        ({"quant_method": 5}, "'5'"),
        ({"quant_method": ["fp8"]}, "fp8"),
        ({"bits": 4}, "does not name"),
    ],
)
def test_a_method_that_has_no_name_is_told_by_what_it_writes(written: Any, told: str) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=f"was quantized by .*{told}") as raised:
        read(written)
    assert "None" not in str(raised.value)


def test_mlx_is_told_by_the_words_of_its_own_config() -> None:
    with pytest.raises(UnsupportedCheckpointError, match="quantized by MLX"):
        read_quantization_config("a model", {"quantization": {"group_size": 64, "bits": 4}})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "FP8"),
        ({"quantization": {"quant_algo": "NVFP4"}}, "NVFP4"),
        ([], "an unknown algorithm"),
    ],
)
def test_modelopt_is_told_by_its_file(written: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match=rf"quantized by ModelOpt \({told}"):
        read_quantization_config("a model", {}, tmp_path)


def test_a_file_of_modelopt_about_nothing_but_a_cache_changes_nothing(tmp_path: Path) -> None:
    written = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(written), encoding="utf-8")
    assert read_quantization_config("a model", {}, tmp_path) is None


@pytest.mark.parametrize("block", [5, [0, 1], [128], ["128", "128"], [True, 1]])
def test_blocks_of_another_kind_are_refused(block: Any) -> None:
    with pytest.raises(UnsupportedCheckpointError, match="weight_block_size"):
        read({"quant_method": "fp8", "weight_block_size": block})


def test_a_broken_word_is_refused() -> None:
    with pytest.raises(UnsupportedCheckpointError, match="not a JSON object"):
        read("gptq")
