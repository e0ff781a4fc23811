"""The settings have the reranker's names, and decide which model is shared."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


def test_the_words_are_the_engines_and_so_are_the_defaults_but_for_the_model() -> None:
    engine = {field.name: field.default for field in dataclasses.fields(EngineSettings)}
    for field in dataclasses.fields(EmbeddingSettings):
        assert field.default == engine[field.name] or field.name == "model"
    assert EmbeddingSettings().model == "Qwen/Qwen3-Embedding-0.6B"


@pytest.mark.parametrize(
    "wrong", [{"model": ""}, {"dtype": "bf16"}, {"device": ""}, {"revision": 3}, {"local_files_only": "yes"}], ids=str
)
def test_a_value_outside_of_the_words_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        EmbeddingSettings(**wrong)


def test_two_spellings_of_a_folder_are_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert EmbeddingSettings(model="model").cache_key == EmbeddingSettings(model=str(tmp_path / "model")).cache_key
    assert EmbeddingSettings(model="owner/name").cache_key.model == "owner/name"


def test_the_token_is_in_no_text_pickle_or_comparison() -> None:
    settings = EmbeddingSettings(model="owner/name", token="hf_secret")
    assert "hf_secret" not in repr(settings)
    assert b"hf_secret" not in pickle.dumps(settings)
    assert settings == EmbeddingSettings(model="owner/name")
    assert settings.cache_key.token == "hf_secret"
