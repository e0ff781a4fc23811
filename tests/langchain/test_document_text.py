"""The model reads a document's text, some of its metadata, or the result of a function."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain.conftest import Compress

PAGE = Document("A page.", metadata={"title": "Red foxes", "year": 2024, "empty": None})


def read_by_the_model(documents: list[Document], **fields: Any) -> tuple[str, ...]:
    scorer = OverlapScorer()
    Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), **fields).compress_documents(documents, "q")
    return scorer.requests[-1].documents


def test_only_the_text_is_read_unless_asked_otherwise() -> None:
    assert read_by_the_model([PAGE]) == ("A page.",)


def test_chosen_metadata_stands_in_front_of_the_text_in_the_order_of_the_keys() -> None:
    bare = Document("Another.")
    found = read_by_the_model([PAGE, bare], metadata_keys=["year", "title", "author"])
    assert found == ("year: 2024\ntitle: Red foxes\n\nA page.", "Another.")


def test_a_function_may_choose_what_is_read() -> None:
    assert read_by_the_model([PAGE], document_to_text=lambda document: document.metadata["title"]) == ("Red foxes",)


def test_what_a_function_returns_must_be_text() -> None:
    with pytest.raises(InputTypeError, match=r"documents\[0\] must be a string, got int"):
        read_by_the_model([PAGE], document_to_text=lambda document: document.metadata["year"])


def test_rerank_reads_documents_the_same_way() -> None:
    scorer = OverlapScorer()
    compressor = Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), metadata_keys=["title"])
    compressor.rerank([PAGE, "text", {"text": "dict"}], "q")
    assert scorer.requests[-1].documents == ("title: Red foxes\n\nA page.", "text", "dict")


def test_both_at_once_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="metadata_keys and document_to_text contradict"):
        Qwen3Rerank(model="demo", metadata_keys=["title"], document_to_text=str)


def test_a_function_is_never_lost_silently_in_json() -> None:
    with pytest.raises(PydanticSerializationError):
        Qwen3Rerank(model="demo", document_to_text=lambda document: document.page_content).model_dump_json()


def test_spans_are_of_the_documents_own_text_also_with_metadata_in_front(compress: Compress) -> None:
    text = "The weather was fine all week. " * 60 + "A red fox sleeps. " + "Nothing else happened. " * 60
    page = Document(text, metadata={"title": "News of the week"})
    windows = Qwen3Rerank(model="demo", max_length=200, long_documents="windows", metadata_keys=["title"])
    (found,) = compress(windows, [page], "Where does the red fox sleep?")
    start, end = found.metadata["relevant_start"], found.metadata["relevant_end"]
    assert "A red fox sleeps." in text[start:end]
    assert text[start:end].startswith(("The weather", "Nothing else", "A red fox"))
