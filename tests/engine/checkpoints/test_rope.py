"""What a config.json says of positions: read in both spellings, limited, or refused by the name of its type."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.checkpoints.rope import Rope, read_rope
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError
from tests.checkpoint_kinds import change_json

LONGROPE = {"short_factor": [1.0] * 64, "long_factor": [2.0] * 64, "original_max_position_embeddings": 1000}
LLAMA3 = {"factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 1000}


def read(positions: int = 4000, **config: Any) -> Rope:
    return read_rope("a fine-tune", {"max_position_embeddings": positions, "rope_theta": 1e6, **config})


@pytest.mark.parametrize(
    ("parameters", "positions", "limit"),
    [
        (None, 4000, 4000),
        ({}, 4000, 4000),
        ({"rope_type": "default"}, 4000, 4000),
        ({"type": "linear", "factor": 2}, 4000, 8000),
        ({"type": "dynamic", "factor": 2.5}, 4000, 10_000),
        ({"type": "yarn", "factor": 4.0}, 40_960, 163_840),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}, 40_960, 131_072),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}, 131_072, 131_072),
        ({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1000}, 4000, 4000),
        ({"type": "longrope", **LONGROPE}, 4000, 4000),
        ({"type": "longrope", **LONGROPE, "factor": 8}, 4000, 8000),
        ({"type": "llama3", **LLAMA3}, 4000, 8000),
    ],
    ids=str,
)
@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_the_longest_prompt_is_what_is_configured_or_the_original_length_times_the_factor(
    field: str, parameters: dict[str, Any] | None, positions: int, limit: int
) -> None:
    assert read(positions, **{field: parameters}).limit == limit


def test_rope_scaling_goes_before_rope_parameters_and_rope_type_before_type_as_in_transformers() -> None:
    both = {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"}}
    assert read(**both).type == "linear"
    assert read(rope_scaling={"type": "mrope", "rope_type": "default"}).type == "default"


@pytest.mark.parametrize("kind", ["su", "mrope", "proportional", "ntk", "", 5, None, ["yarn"]])
def test_another_type_is_refused_by_its_name(kind: object) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=r"'a fine-tune' uses the RoPE type .* not supported"):
        read(rope_scaling={"rope_type": kind, "factor": 2})


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"type": "linear"}, "'linear', factor is None"),
        ({"type": "dynamic", "factor": None}, "'dynamic', factor is None"),
        ({"type": "yarn", "factor": "4"}, "'yarn', factor is '4'"),
        ({"type": "yarn", "factor": True}, "'yarn', factor is True"),
        ({"type": "yarn", "factor": 0}, "factor is 0"),
        ({"type": "yarn", "factor": -4}, "factor is -4"),
        ({"type": "yarn", "factor": math.nan}, "factor is nan"),
        ({"type": "yarn", "factor": math.inf}, "factor is inf"),
        ({"type": "yarn", "factor": 4, "original_max_position_embeddings": "many"}, "not a number of tokens"),
        ({"type": "yarn", "factor": 4, "original_max_position_embeddings": -1}, "not a number of tokens"),
        ({"type": "yarn", "factor": 4, "attention_factor": math.nan}, "attention_factor is nan"),
        ({"type": "yarn", "factor": 4, "attention_factor": 0}, "attention_factor is 0"),
        ({"type": "yarn", "factor": 4, "beta_fast": "32"}, "beta_fast is '32'"),
        ({"type": "yarn", "factor": 4, "mscale": math.inf}, "mscale is inf"),
        ({"type": "yarn", "factor": 4, "truncate": "no"}, "truncate is 'no'"),
        ({"type": "llama3", **LLAMA3, "low_freq_factor": None}, "low_freq_factor is None"),
        ({"type": "llama3", **LLAMA3, "high_freq_factor": 1}, "high_freq_factor is 1"),
        ({"type": "longrope", **LONGROPE, "long_factor": None}, "long_factor is not a list"),
        ({"type": "longrope", **LONGROPE, "long_factor": [0.0] * 64}, "long_factor is not a list of positive"),
        ({"type": "longrope", **LONGROPE, "short_factor": [1.0] * 8}, "short_factor has 8 numbers"),
        ({"type": "linear", "factor": 2, "partial_rotary_factor": 0.5}, "partial_rotary_factor is not 1"),
        ({"type": "linear", "factor": 2, "rope_theta": 0}, "rope_theta is 0"),
        ({"full_attention": {"rope_type": "default"}}, "one entry for each layer type"),
    ],
    ids=str,
)
def test_a_parameter_that_is_missing_or_malformed_is_refused_with_type_and_name(
    parameters: dict[str, Any], word: str
) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=word):
        read(rope_parameters=parameters)


@pytest.mark.parametrize("value", ["yarn", 4, ["yarn"], True])
def test_what_is_not_an_object_is_refused(value: object) -> None:
    with pytest.raises(UnsupportedCheckpointError, match="not an object"):
        read(rope_scaling=value)


def test_a_checkpoint_with_such_a_config_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))
    (folder / "model.safetensors").write_bytes(b"no tensor in sight")
    change_json(folder / "config.json", rope_scaling={"type": "yarn", "factor": 0})
    with Qwen3Reranker(str(folder)) as reranker, pytest.raises(UnsupportedCheckpointError, match="RoPE type 'yarn'"):
        reranker.rank("q", ["d"])


def test_prompts_may_share_a_prefix_where_their_frequencies_are_the_same() -> None:
    tails = [10, 950, 20, 960, 950]
    assert read(rope_scaling={"type": "yarn", "factor": 2}).groups(100, tails) == [[0, 1, 2, 3, 4]]
    longrope = read(rope_scaling={"type": "longrope", **LONGROPE})
    assert longrope.groups(100, tails) == [[0, 2], [1, 3, 4]]
    assert longrope.groups(50, tails) == [[0, 1, 2, 4], [3]]  # 1,000 tokens are not longer than 1,000
    dynamic = read(1000, rope_scaling={"type": "dynamic", "factor": 2})
    assert dynamic.groups(100, tails) == [[0, 2], [1, 4], [3]]
