"""`rerank` takes anything that has text, and returns positions and scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from langchain_core.documents import Document

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer

Fake = Callable[..., Qwen3Rerank]
Rerank = Callable[..., list[dict[str, Any]]]


@pytest.fixture(params=["rerank", "arerank"])
def rerank(request: pytest.FixtureRequest) -> Rerank:
    """Both methods, called alike."""

    def call(compressor: Qwen3Rerank, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = getattr(compressor, request.param)(*args, **kwargs)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    return call


def positions(found: list[dict[str, Any]]) -> list[int]:
    return [relevance["index"] for relevance in found]


def test_positions_and_scores_come_best_first(fake: Fake, rerank: Rerank) -> None:
    found = rerank(fake(), ["red", "red green", "blue"], "red green")
    assert positions(found) == [1, 0, 2]
    assert all(set(relevance) == {"index", "relevance_score"} for relevance in found)
    assert json.loads(json.dumps(found)) == found
    assert {type(relevance["relevance_score"]) for relevance in found} == {float}


def test_texts_documents_and_dicts_may_stand_in_one_list(fake: Fake, rerank: Rerank) -> None:
    mixed = [
        "red",
        Document("red green"),
        {"text": "red green blue", "title": "ignored"},
        {"page_content": "", "text": "red green blue"},
        MappingProxyType({"text": "blue"}),
    ]
    assert positions(rerank(fake(top_n=None), mixed, "red green blue")) == [2, 1, 0, 4, 3]


def test_rerank_scores_as_compress_documents_does(compressor: Qwen3Rerank, rerank: Rerank) -> None:
    documents = [Document("Bread rises because of yeast."), Document("Yeast?"), Document("Glass is melted sand.")]
    compressed = compressor.compress_documents(documents, "Why does bread rise?")
    found = rerank(compressor, documents, "Why does bread rise?")
    assert [documents[position].page_content for position in positions(found)] == [d.page_content for d in compressed]
    assert [relevance["relevance_score"] for relevance in found] == pytest.approx(
        [document.metadata["relevance_score"] for document in compressed], abs=1e-5
    )


@pytest.mark.parametrize(
    ("field", "arguments", "expected"),
    [
        (2, {}, 2),
        (2, {"top_n": -1}, 2),
        (2, {"top_n": None}, 4),
        (2, {"top_n": 0}, 0),
        (2, {"top_n": 3}, 3),
        (2, {"top_n": 8}, 4),
        (None, {"top_n": -1}, 4),
        (None, {"top_n": 1}, 1),
    ],
)
def test_top_n_of_the_call_wins_over_the_field(
    fake: Fake, rerank: Rerank, field: int | None, arguments: dict[str, Any], expected: int
) -> None:
    compressor = fake(top_n=field)
    assert len(rerank(compressor, ["red", "green", "blue", "red blue"], "red", **arguments)) == expected
    assert compressor.top_n == field


@pytest.mark.parametrize("top_n", [-2, 1.5, "3", True])
def test_a_top_n_that_is_no_number_of_documents_is_refused(fake: Fake, rerank: Rerank, top_n: object) -> None:
    with pytest.raises(SettingsError, match="top_n must be"):
        rerank(fake(), ["red"], "red", top_n=top_n)


def test_none_in_a_call_lifts_the_threshold_and_the_instruction_of_the_fields(fake: Fake, rerank: Rerank) -> None:
    scorer = OverlapScorer()
    compressor = fake(scorer, instruction="Find colors", min_score=0.9)
    assert rerank(compressor, ["red", "green"], "red") == []
    assert positions(rerank(compressor, ["red", "green"], "red", min_score=None, instruction=None)) == [0, 1]
    assert [request.instruction for request in scorer.requests] == ["Find colors", DEFAULT_INSTRUCTION]


def test_instruction_of_the_call_wins_over_the_field(fake: Fake, rerank: Rerank) -> None:
    scorer = OverlapScorer()
    compressor = fake(scorer, instruction="Find colors")
    rerank(compressor, ["red"], "red")
    rerank(compressor, ["red"], "red", instruction="Find paint")
    assert [request.instruction for request in scorer.requests] == ["Find colors", "Find paint"]
    assert compressor.instruction == "Find colors"


def test_min_score_of_the_call_wins_over_the_field(fake: Fake, rerank: Rerank) -> None:
    compressor = fake(min_score=0.6)
    assert positions(rerank(compressor, ["red", "red green"], "red green")) == [1]
    assert positions(rerank(compressor, ["red", "red green"], "red green", min_score=0)) == [1, 0]


def test_a_text_that_was_cut_says_by_how_many_tokens(model: str, rerank: Rerank) -> None:
    found = rerank(Qwen3Rerank(model=model, max_length=200), ["red", "red and green " * 200], "red")
    assert [relevance["index"] for relevance in found if relevance.get("truncated_tokens", 0) > 100] == [1]


def test_nothing_gives_nothing_and_loads_nothing(rerank: Rerank) -> None:
    assert rerank(Qwen3Rerank(model="/there/is/no/such/folder"), [], "red") == []


def test_a_dict_without_text_is_named_in_the_error(fake: Fake, rerank: Rerank) -> None:
    with pytest.raises(InputTypeError, match=r'documents\[1\] has neither .* nor "text", only .*body'):
        rerank(fake(), ["red", {"body": "red"}], "red")


@pytest.mark.parametrize("other", [None, 3, b"red", {"text": None}, Document.model_construct(page_content=None)])
def test_what_has_no_text_is_named_in_the_error(fake: Fake, rerank: Rerank, other: object) -> None:
    with pytest.raises(InputTypeError, match=r"documents\[1\] must be a string, got"):
        rerank(fake(), ["red", other], "red")


@pytest.mark.parametrize("one", ["red", b"red", Document("red"), {"text": "red"}, None])
def test_a_single_thing_is_no_list_of_documents(fake: Fake, rerank: Rerank, one: object) -> None:
    with pytest.raises(InputTypeError, match="documents must be a list"):
        rerank(fake(), one, "red")
