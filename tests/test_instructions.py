"""Presets: a sentence a task, and the model card's own among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.instructions import PRESETS, preset
from tests.doubles import OverlapScorer


def test_the_first_is_the_model_cards() -> None:
    assert preset("web-search") == DEFAULT_INSTRUCTION


@pytest.mark.parametrize("task", PRESETS)
def test_each_says_what_is_given_and_what_is_to_be_retrieved(task: str) -> None:
    assert re.fullmatch(r"Given [^.]+, retrieve [^.]+", PRESETS[task])
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", task)


def test_no_two_are_alike() -> None:
    assert len(set(PRESETS.values())) == len(PRESETS)


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no instruction for 'cooking'; there are web-search, question-answering"):
        preset("cooking")


def test_every_one_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "instructions.md").read_text(encoding="utf-8")
    for task, instruction in PRESETS.items():
        assert f"| `{task}` | {instruction} |" in page


def test_a_preset_reaches_the_prompt() -> None:
    scorer = OverlapScorer()
    Qwen3Reranker("demo", scorer=scorer, instruction=preset("code")).rank("q", ["d"])
    assert scorer.requests[0].instruction == PRESETS["code"]
