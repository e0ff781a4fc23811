"""Fetching from the hub, and from its cache without it: a folder, or a clear word why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from tests.cache import cache_with


def find(folder: Path | str, **options: Any) -> Any:
    return find_checkpoint(EngineSettings(model=str(folder), **options))


@pytest.fixture
def copy(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("one-layer")


def test_hf_hub_offline_is_honoured(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    assert find("someone/reranker", cache_dir=str(cache)).commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="fetching is switched off .*HF_HUB_OFFLINE"):
        find("someone/other", cache_dir=str(cache))


def test_a_revision_is_looked_up_in_the_cache(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache", revision="v2")
    assert find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v2").commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="at revision 'v3' is not in the cache"):
        find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v3")


def test_what_is_not_cached_and_must_not_be_fetched_names_the_switch(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointNotFoundError, match=r"'Qwen/Qwen3-Reranker-8B' is not in the cache.*local files only"
    ):
        find("Qwen/Qwen3-Reranker-8B", cache_dir=str(tmp_path), local_files_only=True)


def hub_error(kind: type[Exception]) -> Exception:
    """An error as the hub's client raises it; some of them want the answer they came from."""
    if kind not in (GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError):
        return kind("no")
    answer: Any = SimpleNamespace(headers={}, request=None, status_code=404)  # of whichever HTTP client it has
    return kind("no", response=answer)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (LocalEntryNotFoundError, "hub cannot be reached"),
        (GatedRepoError, "Accept its terms"),
        (RepositoryNotFoundError, "is not on the hub"),
        (RevisionNotFoundError, "is not on the hub"),
        (HfHubHTTPError, "could not be fetched"),
        (OSError, "could not be fetched"),
        (EOFError, "could not be fetched"),  # errors of the hub's HTTP client are no OSErrors
    ],
)
def test_each_failure_of_the_hub_has_advice_that_fits_python_and_the_command_line(
    kind: type[Exception], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=advice) as caught:
        find("someone/reranker", revision="v2")
    assert "'someone/reranker' at revision 'v2'" in str(caught.value)
    assert not re.search(r"_|--|\w=[^1]", str(caught.value).replace("HF_HUB_OFFLINE", "").replace("HF_TOKEN", ""))


def test_a_name_that_can_be_no_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="neither a folder on this machine nor a hub id"):
        find("not a/valid/id", cache_dir=str(tmp_path), local_files_only=True)
