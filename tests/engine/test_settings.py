"""Settings: strict, frozen, and discreet."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.settings import SHORTEST_MAX_LENGTH, EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import SettingsError


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"model": None},
        {"revision": 3},
        {"device": ""},
        {"devices": []},
        {"devices": "cuda:0"},
        {"devices": ["cuda:0", 1]},
        {"devices": ["cpu", ""]},
        {"devices": ["auto", "cpu"]},
        {"device_map": "balanced"},
        {"device_map": {"": "cpu"}},
        {"dtype": "bf16"},
        {"attention": "flash"},
        {"kernels": "cuda"},
        {"quantization": "int3"},
        {"max_batch_tokens": 0},
        {"max_batch_tokens": 1.5},
        {"max_batch_tokens": True},
        {"compile": "yes"},
        {"cache_dir": 1},
        {"local_files_only": None},
        {"token": True},
        {"trust_remote_code": 1},
    ],
    ids=str,
)
def test_a_malformed_option_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        EngineSettings(**wrong)


@pytest.mark.parametrize(
    ("contradiction", "advice"),
    [
        ({"device": "cuda:0", "devices": ["cuda:1"]}, "Pass only one"),
        ({"devices": ["cuda:0", "cuda:1"], "device_map": "auto"}, "devices if the model fits on one, else device_map"),
        ({"device": "cuda:0", "device_map": "auto"}, "Drop device; CUDA_VISIBLE_DEVICES limits"),
        ({"quantization": "int8", "device_map": "auto"}, "quantization='int8' .* Drop one of the two"),
        ({"kernels": "triton", "compile": True}, "fuses the same operations itself. Drop one of the two"),
        ({"compile": True, "device_map": "auto"}, "compile=True .* Drop one of the two"),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused_with_what_to_do(
    contradiction: dict[str, Any], advice: str
) -> None:
    with pytest.raises(SettingsError, match=advice):
        EngineSettings(**contradiction)


def test_several_devices_are_a_replica_each_with_the_same_other_settings() -> None:
    settings = EngineSettings(model="demo", devices=["cuda:0", "cuda:1"], dtype="float16", token="hf_secret")  # type: ignore[arg-type]
    assert settings.devices == ("cuda:0", "cuda:1")
    assert hash(settings) == hash(EngineSettings(model="demo", devices=("cuda:0", "cuda:1"), dtype="float16"))
    one, other = settings.replicas
    assert one == EngineSettings(model="demo", device="cuda:0", dtype="float16")
    assert other.device == "cuda:1"
    assert one.token == "hf_secret"
    assert EngineSettings(model="demo").replicas == (EngineSettings(model="demo"),)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="batch_size"):
        EngineSettings(batch_size=8)  # type: ignore[call-arg]


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EngineSettings().model = "other"  # type: ignore[misc]


def test_the_token_is_neither_shown_nor_compared_nor_pickled() -> None:
    settings = EngineSettings(token="hf_secret")
    assert "hf_secret" not in repr(settings)
    assert settings == EngineSettings(token="hf_other")
    assert b"hf_secret" not in pickle.dumps(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_two_spellings_of_a_folder_are_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    absolute = EngineSettings(model=str(tmp_path / "model"))
    assert EngineSettings(model="model").cache_key == EngineSettings(model="./model").cache_key == absolute.cache_key


def test_the_shortest_max_length_is_what_the_real_tokenizer_needs_for_one_token(qwen_tokenizer_file: Path) -> None:
    tokens = PromptEncoder(qwen_tokenizer_file).encode(build_prompt(RerankRequest("", ("x",), "")), 8192)
    assert len(tokens.prefix) + len(tokens.document_ids[0]) == SHORTEST_MAX_LENGTH
