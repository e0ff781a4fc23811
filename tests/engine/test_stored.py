"""What a config.json says about quantised weights: read, or refused by the name of the method."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_rerank_plugins.engine.stored import StoredQuantization, read_stored
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError


def read(quantization_config: Any) -> StoredQuantization | None:
    return read_stored("a model", {"quantization_config": quantization_config})


def test_plain_weights_are_not_quantised() -> None:
    assert read_stored("a model", {}) is None
    assert read(None) is None
    assert read({}) is None


@pytest.mark.parametrize(
    ("written", "method", "kept_as"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes", "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes", "int4"),
        ({"load_in_4bit": True}, "bitsandbytes", "int4"),  # as the first exports had it
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", None),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors", None),
    ],
)
def test_what_is_read_is_named_and_what_becomes_of_it(written: Any, method: str, kept_as: str | None) -> None:
    found = read(written)
    assert found is not None
    assert (found.method, found.kept_as) == (method, kept_as)


@pytest.mark.parametrize("method", ["torchao", "hqq", "mxfp4", "gguf", "quanto", None])
def test_what_is_not_read_is_refused_with_what_to_use_instead(method: str | None) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=f"quantised by {method}.*quantization='int4'"):
        read({"quant_method": method, "bits": 4})


def test_a_broken_word_is_refused() -> None:
    with pytest.raises(UnsupportedCheckpointError, match="not a JSON object"):
        read("gptq")
