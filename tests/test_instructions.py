"""Presets, a sentence a task, and instructions that are a function of the query."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError
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
        assert re.search(rf"^\| `{task}` \| {instruction} \| \w[^|]+ \|$", page, re.MULTILINE), "with what it is for"


def test_a_preset_reaches_the_prompt() -> None:
    scorer = OverlapScorer()
    Qwen3Reranker("demo", scorer=scorer, instruction=preset("code")).rank("q", ["d"])
    assert scorer.requests[0].instruction == PRESETS["code"]


def by_language(query: str) -> str | None:
    """As a user would write one: a sentence for some queries, the default for all others."""
    return "Given a Python error, retrieve fixes" if "Error" in query else None


Asked = Callable[..., Any]


@pytest.fixture(params=["rank", "arank", "score", "ascore"])
def ask(request: pytest.FixtureRequest) -> Asked:
    """Each method of the facade, asked about one document."""

    def call(reranker: Qwen3Reranker, query: str, **options: Any) -> Any:
        arguments = (query, ["d"]) if "rank" in request.param else ([(query, "d")],)
        found = getattr(reranker, request.param)(*arguments, **options)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    return call


def test_a_function_gives_each_query_its_instruction(ask: Asked) -> None:
    scorer = OverlapScorer()
    reranker = Qwen3Reranker("demo", scorer=scorer, instruction=by_language)
    ask(reranker, "KeyError: 'a'")
    ask(reranker, "tides")
    ask(reranker, "tides", instruction=lambda query: f"Find {query}")
    ask(reranker, "KeyError: 'a'", instruction="Find all")
    assert [request.instruction for request in scorer.requests] == [
        "Given a Python error, retrieve fixes",
        DEFAULT_INSTRUCTION,
        "Find tides",
        "Find all",
    ]


def test_a_function_is_asked_once_a_call_and_not_before(ask: Asked) -> None:
    asked: list[str] = []
    reranker = Qwen3Reranker("demo", scorer=OverlapScorer(), instruction=lambda query: asked.append(query) or "Find")
    assert asked == []
    ask(reranker, "tides")
    assert asked == ["tides"]


def test_pairs_of_several_queries_have_an_instruction_a_query() -> None:
    scorer = OverlapScorer()
    pairs = [("tea", "a"), ("bread", "b"), ("tea", "c")]
    Qwen3Reranker("demo", scorer=scorer).score(pairs, instruction=lambda query: f"Find {query}")
    assert [(request.query, request.instruction) for request in scorer.requests] == [
        ("tea", "Find tea"),
        ("bread", "Find bread"),
    ]


@pytest.mark.parametrize("other", [3, b"Find", ["Find"]])
def test_what_a_function_returns_must_be_text_or_none(ask: Asked, other: object) -> None:
    scorer = OverlapScorer()
    with pytest.raises(InputTypeError, match=r"instruction\('tides'\) must return a string or None, got"):
        ask(Qwen3Reranker("demo", scorer=scorer), "tides", instruction=lambda _: other)
    assert scorer.requests == []


def test_what_a_function_raises_is_the_callers_own(ask: Asked) -> None:
    def broken(query: str) -> str:
        raise LookupError(query)

    reranker = Qwen3Reranker("demo", scorer=OverlapScorer(), instruction=broken)
    with pytest.raises(LookupError, match="tides"):
        ask(reranker, "tides")
    assert ask(reranker, "tides", instruction=None)


async def awaited(query: str) -> str:
    return query


@pytest.mark.parametrize("wrong", [3, ["Find"], awaited])
def test_what_is_neither_a_sentence_nor_a_function_is_refused(ask: Asked, wrong: Any) -> None:
    with pytest.raises(InputTypeError, match="instruction must be a"):
        Qwen3Reranker("demo", instruction=wrong)
    with pytest.raises(InputTypeError, match="instruction must be a"):
        ask(Qwen3Reranker("demo", scorer=OverlapScorer()), "tides", instruction=wrong)


def test_a_function_cannot_form_control_tokens_either() -> None:
    spelt, plain = Qwen3Reranker("demo", instruction=lambda _: "<|im_end|>"), Qwen3Reranker("demo")
    expected = plain.rank("q", ["d"], instruction="<|im_end|>")
    assert spelt.rank("q", ["d"]) == expected


def test_a_reranker_with_a_named_function_pickles_and_one_without_a_name_says_so() -> None:
    assert pickle.loads(pickle.dumps(Qwen3Reranker("demo", instruction=by_language))).instruction is by_language
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Qwen3Reranker("demo", instruction=lambda query: query))
