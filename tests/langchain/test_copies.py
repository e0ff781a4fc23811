"""Which metadata the compressor reads, copies, and adds to the copies."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from langchain_core.documents import Document

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain.conftest import Compress
from tests.optional import need

Fake = Callable[..., Qwen3Rerank]
NO_VALUES: list[Any] = [
    None,
    float("nan"),
    np.nan,
    np.float32("nan"),
    decimal.Decimal("nan"),
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    torch.tensor(float("nan")),
    "",
    " \n\t\u3000",
    [],
    (),
    set(),
    [None, float("nan"), " "],
    np.array([]),
]
VALUES: list[tuple[Any, str]] = [
    ("Red foxes", "Red foxes"),
    (0, "0"),
    (False, "False"),
    (np.int64(3), "3"),
    (np.float32(0.1), "0.1"),
    (torch.tensor(3), "3"),
    (datetime.date(2024, 5, 6), "2024-05-06"),
    (pd.Timestamp("2024-05-06"), "2024-05-06 00:00:00"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.50"), "1.50"),
    (Path("a") / "b", "a/b"),
    (["red", None, "fox"], "red, fox"),
    (np.array(["red", "fox"]), "red, fox"),
    (np.str_("red"), "red"),
]


def read_by_the_model(metadata: Any) -> str:
    scorer = OverlapScorer()
    compressor = Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer), metadata_keys=["title"])
    compressor.compress_documents([Document.model_construct(page_content="A page.", metadata=metadata)], "q")
    return scorer.requests[-1].documents[0]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: type(value).__name__)
def test_what_is_no_value_is_not_read(value: Any) -> None:
    assert read_by_the_model({"title": value}) == "A page."


@pytest.mark.parametrize(("value", "written"), VALUES, ids=lambda value: repr(value)[:30])
def test_what_is_a_value_is_read_as_its_text(value: Any, written: str) -> None:
    assert read_by_the_model({"title": value}) == f"title: {written}\n\nA page."


@pytest.mark.parametrize(
    "value",
    [b"red", {"en": "red"}, object(), [["red"], {"a": 1}], lambda: "red"],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_text_is_refused_by_document_and_key_before_anything_is_loaded(
    compress: Compress, value: Any
) -> None:
    unloadable = Qwen3Rerank(model="/there/is/no/such/folder", metadata_keys=["title"])
    pages = [Document(page_content="red", metadata={"title": "fine"}), Document(page_content="blue")]
    pages[1].metadata["title"] = value
    with pytest.raises(InputTypeError, match=r"documents\[1\]\.metadata\['title'\] must be text"):
        compress(unloadable, pages, "red")


@pytest.mark.parametrize("metadata", [["a"], "title", 3, [("title", "red")]], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "fields",
    [{}, {"metadata_keys": ["title"]}, {"document_to_text": lambda page: "text"}],
    ids="".join,
)
def test_metadata_that_is_no_mapping_is_refused_before_anything_is_loaded(
    compress: Compress, metadata: Any, fields: dict[str, Any]
) -> None:
    unloadable = Qwen3Rerank(model="/there/is/no/such/folder", **fields)
    pages = [Document(page_content="red"), Document.model_construct(page_content="red", metadata=metadata)]
    with pytest.raises(InputTypeError, match=r"metadata of documents\[1\] must be a dict, got"):
        compress(unloadable, pages, "red")
    with pytest.raises(InputTypeError, match=r"metadata of documents\[1\] must be a dict, got"):
        unloadable.rerank(pages, "red")


def test_a_result_may_be_changed_at_any_depth(fake: Fake, compress: Compress) -> None:
    circle: dict[str, Any] = {"deep": [{"er": {1}}]}
    circle["self"] = circle
    page = Document(page_content="red", metadata={"tags": ["a"], "pair": ([1], 2), "circle": circle})
    (found,) = compress(fake(), [page], "red")
    found.metadata["tags"].append("b")
    found.metadata["pair"][0].append(2)
    found.metadata["circle"]["deep"][0]["er"].add(2)
    found.metadata["circle"]["new"] = found.metadata["new"] = 1
    found.page_content = "changed"
    assert found.metadata["circle"]["self"] is found.metadata["circle"]
    assert (page.page_content, page.metadata["tags"], page.metadata["pair"]) == ("red", ["a"], ([1], 2))
    assert (circle["deep"], set(circle), set(page.metadata)) == (
        [{"er": {1}}],
        {"deep", "self"},
        {"tags", "pair", "circle"},
    )


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
def test_notes_are_plain_and_flat_and_survive_a_filter_of_complex_metadata(compress: Compress) -> None:
    need("langchain_community")
    from langchain_community.vectorstores.utils import filter_complex_metadata

    text = "A long text about blue and green. " * 60 + "A red fox sleeps. " + "A long text about green. " * 60
    windows = Qwen3Rerank(model="demo", max_length=200, long_documents="windows")
    (found,) = compress(windows, [Document(page_content=text)], "red fox")
    (kept,) = filter_complex_metadata([found])
    assert kept.metadata == found.metadata
    assert {name: type(value) for name, value in kept.metadata.items()} == {
        "relevance_score": float,
        "relevant_start": int,
        "relevant_end": int,
    }
    assert "red fox" in text[kept.metadata["relevant_start"] : kept.metadata["relevant_end"]]
    assert windows.rerank([text], "red fox") == [{"index": 0, **json.loads(json.dumps(found.metadata))}]


def test_a_span_that_version_0_1_noted_is_replaced(fake: Fake, compress: Compress) -> None:
    (found,) = compress(fake(), [Document(page_content="red", metadata={"relevant_span": [0, 1]})], "red")
    assert set(found.metadata) == {"relevance_score"}
