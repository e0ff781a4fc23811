"""Where a score cache may be: nowhere, in memory, or in a file whose path does not depend on the working directory."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.settings import DEFAULT_CACHE_BYTES, SMALLEST_CACHE_BYTES, EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


def test_there_is_no_cache_unless_one_is_named() -> None:
    assert (EngineSettings().cache, EngineSettings().cache_bytes) == (None, DEFAULT_CACHE_BYTES)


def test_a_path_is_resolved_when_the_settings_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = EngineSettings(cache="scores.db")
    assert found.cache == str(tmp_path.resolve() / "scores.db")
    assert found == EngineSettings(cache=tmp_path / "scores.db")  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_word_memory_is_no_file_and_a_path_of_that_name_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert EngineSettings(cache="memory").cache == "memory"
    for path in ("./memory", Path("memory")):
        assert EngineSettings(cache=path).cache == str(tmp_path.resolve() / "memory")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", "  ", 3, True, b"scores.db", "a\0b"])
def test_what_is_no_path_is_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match="cache"):
        EngineSettings(cache=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, SMALLEST_CACHE_BYTES - 1, "much"])
def test_a_size_that_holds_nothing_is_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match="cache_bytes"):
        EngineSettings(cache_bytes=wrong)  # type: ignore[arg-type]


def test_a_server_has_no_cache_because_its_weights_are_not_known() -> None:
    with pytest.raises(SettingsError, match="weights, and those of a server are not known"):
        Qwen3Reranker("demo", remote="http://localhost:1", template="server", cache="memory")


def test_rerankers_with_another_cache_do_not_share_an_engine() -> None:
    assert EngineSettings(cache="memory").cache_key != EngineSettings().cache_key
