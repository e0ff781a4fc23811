"""Requests: what cannot be ranked is refused with its position."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, make_request
from qwen3_rerank_plugins.errors import InputTypeError, RequestError


@pytest.mark.parametrize("documents", [["a", "b"], ("a", "b"), iter(["a", "b"]), {"a": 1, "b": 2}.keys()])
def test_any_iterable_of_strings_is_taken_in_order(documents: Any) -> None:
    assert make_request("q", documents, None).documents == ("a", "b")


def test_the_callers_list_is_not_the_requests_documents() -> None:
    documents = ["a", "b"]
    request = make_request("q", documents, None)
    documents.clear()
    assert request.documents == ("a", "b")


@pytest.mark.parametrize("query", [None, 3, b"q", ["q"]])
def test_a_query_that_is_not_text_is_refused(query: Any) -> None:
    with pytest.raises(InputTypeError, match="query must be a string, got"):
        make_request(query, ["d"], None)


@pytest.mark.parametrize("query", ["", "  ", "x" * 50_000])
def test_any_text_is_a_query(query: str) -> None:
    assert make_request(query, ["d"], None).query == query


@pytest.mark.parametrize(
    ("document", "hint"),
    [(None, "got None. Pass the text"), (b"bytes", "got bytes. Decode"), (["x"], "got list")],
)
def test_a_document_that_is_not_text_is_refused_with_its_position(document: Any, hint: str) -> None:
    with pytest.raises(InputTypeError, match=rf"documents\[1\] must be a string, {hint}"):
        make_request("q", ["d", document], None)


@pytest.mark.parametrize("documents", ["one string", b"bytes"])
def test_one_string_instead_of_a_list_is_refused(documents: Any) -> None:
    with pytest.raises(RequestError, match="wrap it in a list"):
        make_request("q", documents, None)


def test_something_that_cannot_be_iterated_is_refused() -> None:
    with pytest.raises(InputTypeError, match="iterable of strings, got int"):
        make_request("q", 3, None)


def test_no_instruction_is_the_cards_and_an_empty_one_is_empty() -> None:
    assert make_request("q", [], None).instruction == DEFAULT_INSTRUCTION
    assert make_request("q", [], "").instruction == ""
    with pytest.raises(InputTypeError, match="instruction"):
        make_request("q", [], 3)


def test_blank_documents_are_not_readable() -> None:
    request = make_request("q", ["a", "", " \n\t\u3000", "b", "\u200b"], None)
    assert request.readable == (0, 3, 4)
