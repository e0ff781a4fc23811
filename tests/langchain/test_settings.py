"""Fields are validated, survive copies and round trips, and never reveal secrets."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ValidationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer

SECRET = "hf_never_to_be_seen"
ALL = {
    "model": "owner/name",
    "revision": "main",
    "device": "cpu",
    "devices": None,
    "device_map": None,
    "remote": None,
    "protocol": "auto",
    "scores": "auto",
    "template": Qwen3Rerank.model_fields["template"].default,
    "timeout": 60.0,
    "max_waiting_tokens": "auto",
    "on_failure": "retrieval_order",
    "probe": True,
    "dtype": "float32",
    "attention": "sdpa",
    "kernels": "torch",
    "quantization": None,
    "instruction": "Find colors",
    "top_n": 7,
    "min_score": 0.25,
    "max_length": 512,
    "long_documents": "windows",
    "on_nonfinite": "float32",
    "max_batch_tokens": 4096,
    "threads": 3,
    "compile": True,
    "cache": "memory",
    "cache_bytes": 2**20,
    "cache_dir": "/somewhere",
    "local_files_only": True,
    "trust_remote_code": True,
    "metadata_keys": ["title"],
    "document_to_text": None,
}

COPIES: dict[str, Callable[[Qwen3Rerank], Qwen3Rerank]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda compressor: compressor.model_copy(),
    "deep model_copy": lambda compressor: compressor.model_copy(deep=True),
    "pickle": lambda compressor: pickle.loads(pickle.dumps(compressor)),
    "dict": lambda compressor: Qwen3Rerank.model_validate(compressor.model_dump()),
    "JSON": lambda compressor: Qwen3Rerank.model_validate_json(compressor.model_dump_json()),
}


def test_it_is_the_document_compressor_that_hosts_check_for() -> None:
    assert isinstance(Qwen3Rerank(), BaseDocumentCompressor)


def test_the_defaults_are_the_8b_and_three_documents() -> None:
    compressor = Qwen3Rerank()
    assert (compressor.model, compressor.top_n, compressor.instruction) == ("Qwen/Qwen3-Reranker-8B", 3, None)


def test_every_setting_is_a_field_that_survives_json() -> None:
    compressor = Qwen3Rerank(**ALL)
    assert compressor.model_dump() == ALL
    assert json.loads(compressor.model_dump_json()) == ALL


@pytest.mark.parametrize("several", [{"devices": ("cuda:0", "cuda:1")}, {"device_map": "auto"}], ids=str)
def test_what_says_several_devices_survives_too(several: dict[str, Any]) -> None:
    compressor, (name, value) = Qwen3Rerank(model="demo", **several), *several.items()
    for make in COPIES.values():
        assert getattr(make(compressor), name) == getattr(make(compressor)._reranker.settings, name) == value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top_n": -1}, "greater than or equal to 0"),
        ({"min_score": 1.5}, "less than or equal to 1"),
        ({"modle": "demo"}, "modle"),
        ({"dtype": "float8"}, "bfloat16"),
        ({"max_length": 40}, "at least 60"),
        ({"max_length": "long"}, "valid integer"),
        ({"model": ""}, "non-empty"),
        ({"instruction": 3}, "valid string"),
        ({"reranker": "demo"}, "Qwen3Reranker"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_compressor_is_made(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Qwen3Rerank(**wrong)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_same_settings(how: str) -> None:
    compressor = Qwen3Rerank(**ALL)
    copied = COPIES[how](compressor)
    assert copied is not compressor
    assert copied == compressor
    assert copied.model_dump() == ALL


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_loaded_compressor_ranks_alike(compressor: Qwen3Rerank, how: str) -> None:
    texts = ["Bread rises because of yeast.", "Glass is melted sand.", ""]
    expected = compressor.rerank(texts, "Why does bread rise?")
    assert COPIES[how](compressor).rerank(texts, "Why does bread rise?") == expected


@pytest.mark.parametrize("how", ["copy", "deepcopy", "model_copy", "deep model_copy"])
def test_a_copy_in_this_process_shares_the_engine(how: str) -> None:
    scorer = OverlapScorer()
    copied = COPIES[how](Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=scorer)))
    copied.rerank(["red"], "red")
    assert len(scorer.requests) == 1


def test_the_token_is_in_no_pickle_dump_or_text() -> None:
    compressor = Qwen3Rerank(model="owner/name", token=SECRET)
    assert compressor.token is not None
    assert compressor.token.get_secret_value() == SECRET
    assert compressor._reranker.settings.token == SECRET
    assert pickle.loads(pickle.dumps(compressor)).token is None
    for shown in (
        pickle.dumps(compressor),
        repr(compressor).encode(),
        str(compressor).encode(),
        compressor.model_dump_json().encode(),
        repr(compressor.model_dump()).encode(),
    ):
        assert SECRET.encode() not in shown


@pytest.mark.parametrize("wrong", [{"top_n": -1}, {"max_length": 40}, {"tokn": SECRET}, {"token": [SECRET]}])
def test_the_token_is_in_no_error_about_a_setting(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Qwen3Rerank(**{"model": "owner/name", "token": SECRET, **wrong})
    assert SECRET not in str(caught.value)


def test_its_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(Qwen3Rerank(model="demo", top_n=5)) == "Qwen3Rerank(model='demo', top_n=5)"
    assert len(repr(Qwen3Rerank(reranker=Qwen3Reranker("demo", scorer=OverlapScorer())))) < 100


def test_a_ready_reranker_fills_the_fields() -> None:
    ready = Qwen3Reranker("demo", device="cpu", instruction="Find colors", top_n=5, min_score=0.5, max_length=512)
    compressor = Qwen3Rerank(reranker=ready)
    assert compressor.model_dump(exclude_defaults=True) == {
        "model": "demo",
        "device": "cpu",
        "instruction": "Find colors",
        "top_n": 5,
        "min_score": 0.5,
        "max_length": 512,
    }
    assert Qwen3Rerank(reranker=ready, top_n=1, instruction="Find paint").top_n == 1


def test_a_setting_that_contradicts_the_ready_reranker_is_refused() -> None:
    ready = Qwen3Reranker("demo", dtype="float32")
    with pytest.raises(ValidationError, match="dtype='float16' contradicts the reranker's own dtype='float32'"):
        Qwen3Rerank(reranker=ready, dtype="float16")
    compressor = Qwen3Rerank(reranker=ready).model_copy(update={"dtype": "float16"})
    with pytest.raises(SettingsError, match="contradicts"):
        compressor.compress_documents([Document("red")], "red")


def test_a_setting_that_is_changed_later_counts_from_then_on(model: str) -> None:
    long = ["red " * 300]
    compressor = Qwen3Rerank(model=model)
    assert "truncated_tokens" not in compressor.rerank(long, "red")[0]
    assert compressor.model_copy(update={"max_length": 100}).rerank(long, "red")[0]["truncated_tokens"] > 0
    compressor.max_length = 100
    assert compressor.rerank(long, "red")[0]["truncated_tokens"] > 0
    compressor.top_n = 0
    assert compressor.rerank(long, "red") == []


def test_two_compressors_with_equal_settings_share_one_engine(model: str) -> None:
    one, other = Qwen3Rerank(model=model, top_n=1), Qwen3Rerank(model=model, top_n=2)
    assert one._reranker._scorer() is other._reranker._scorer()


def test_one_instance_serves_two_retrievers_and_stays_as_it_is(model: str) -> None:
    compressor = Qwen3Rerank(model=model, top_n=2)
    before = compressor.model_dump()
    compressor.rerank(["red", "green", "blue"], "red", top_n=None, instruction="Find colors", min_score=0)
    compressor.compress_documents([Document("red")], "red")
    assert compressor.model_dump() == before
