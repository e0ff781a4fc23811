"""Loading: a download is shown once, libraries are quiet meanwhile, and as they were afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging as transformers

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.cli import loading
from qwen3_rerank_plugins.cli.output import Screen
from qwen3_rerank_plugins.engine.checkpoints import download
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from tests.cli.conftest import MODEL
from tests.doubles import OverlapScorer


@pytest.mark.parametrize(("watched", "cached", "shown"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_person_sees_a_bar_of_bytes_where_something_is_to_be_fetched(
    monkeypatch: pytest.MonkeyPatch, watched: bool, cached: bool, shown: int
) -> None:
    fetched: list[bool] = []

    def find(settings: Any) -> None:
        if settings.local_files_only and not cached:
            raise CheckpointNotFoundError("not here")
        if not settings.local_files_only:
            fetched.append(download._on_bytes.get() is not None)

    monkeypatch.setattr(loading, "find_checkpoint", find)
    screen = Screen()
    screen.watched = watched
    loading.load(Qwen3Reranker(scorer=OverlapScorer()), screen)
    assert fetched == [True] * shown


@pytest.mark.parametrize(
    ("watched", "cached", "silent"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_what_is_only_fetched_shows_a_bar_of_bytes_to_a_person_alone(
    monkeypatch: pytest.MonkeyPatch, watched: bool, cached: bool, silent: bool
) -> None:
    fetched: list[bool] = []

    def find(settings: Any) -> str:
        if settings.local_files_only and not cached:
            raise CheckpointNotFoundError("not here")
        if not settings.local_files_only:
            fetched.append(download._on_bytes.get() is not None)
        return "the checkpoint"

    monkeypatch.setattr(loading, "find_checkpoint", find)
    screen = Screen()
    screen.watched = watched
    assert loading.fetch(Qwen3Reranker("owner/name").settings, screen) == "the checkpoint"
    assert fetched == [not silent]


def test_libraries_are_quiet_inside_and_as_before_outside() -> None:
    before = transformers.get_verbosity(), transformers.is_progress_bar_enabled(), are_progress_bars_disabled()

    def fail_inside() -> None:
        with loading.quiet_libraries():
            assert transformers.get_verbosity() == transformers.ERROR
            assert not transformers.is_progress_bar_enabled()
            assert are_progress_bars_disabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert before == (
        transformers.get_verbosity(),
        transformers.is_progress_bar_enabled(),
        are_progress_bars_disabled(),
    )


def test_bars_that_were_off_stay_off() -> None:
    transformers.disable_progress_bar()
    try:
        with loading.quiet_libraries():
            pass
        assert not transformers.is_progress_bar_enabled()
    finally:
        transformers.enable_progress_bar()


def test_the_demo_is_not_advised_to_those_who_miss_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(OverlapScorer):
        def warmup(self) -> None:
            raise CheckpointNotFoundError("gone")

    for model, advised in ((MODEL, False), ("owner/name", True)):
        with pytest.raises(CheckpointNotFoundError) as refusal:
            loading.load(Qwen3Reranker(model, scorer=Missing()), Screen())
        assert ("--model demo" in str(refusal.value)) == advised
