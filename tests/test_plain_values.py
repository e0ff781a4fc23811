"""Values as stores and data frames hold them: made plain where they equal a plain value, refused by name otherwise."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins._plain_values import number, plain, text, whole
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.errors import RerankError, SettingsError
from qwen3_rerank_plugins.evaluation import propose_threshold
from qwen3_rerank_plugins.remote.settings import RemoteSettings
from tests.doubles import OverlapScorer


class Word(str, enum.Enum):  # noqa: UP042  its own str() is its name, as in older programs
    FLOAT32 = "float32"
    DEMO = "demo"


class Count(enum.IntEnum):
    TWO = 2


WHOLE: list[Any] = [
    2,
    2.0,
    Count.TWO,
    np.int64(2),
    np.uint8(2),
    np.float32(2),
    np.array(2),
    torch.tensor(2),
    torch.tensor(2.0, dtype=torch.bfloat16),
    Decimal(2),
    Fraction(2),
    pd.Series([2, None])[0],
]
HALF: list[Any] = [
    0.5,
    np.float16(0.5),
    np.float64(0.5),
    np.array(0.5),
    torch.tensor(0.5),
    Decimal("0.5"),
    Fraction(1, 2),
]
NO_NUMBER: list[Any] = [
    True,
    np.True_,
    torch.tensor(True),
    np.array(True),
    np.array([2]),
    torch.tensor([2]),
    torch.tensor(2, device="meta"),
    pd.NA,
    float("nan"),
    np.float32("nan"),
    Decimal("nan"),
    float("inf"),
    2 + 0j,
    b"2",
]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_of_any_library_is_an_int(value: Any) -> None:
    assert (whole(value), type(whole(value))) == (2, int)


@pytest.mark.parametrize("value", HALF, ids=repr)
def test_a_number_of_any_library_is_a_float(value: Any) -> None:
    assert (number(value), type(number(value))) == (0.5, float)


@pytest.mark.parametrize("value", [np.str_("demo"), Word.DEMO, np.array("demo")], ids=repr)
def test_a_string_of_any_class_is_a_str(value: Any) -> None:
    assert (plain(value), type(plain(value))) == ("demo", str)


def test_an_int_of_any_size_is_whole_and_no_float_if_it_is_too_large() -> None:
    assert whole(10**400) == number(10**400) == 10**400


def test_what_equals_no_plain_value_comes_back_as_it_is() -> None:
    for value in (object(), [1], np.arange(3), b"x", pd.NA):
        assert plain(value) is value
    assert text("same") == "same"
    assert plain(np.True_) is True


def test_a_name_of_a_model_of_any_class_means_what_its_text_means() -> None:
    for name in (np.str_("demo"), Word.DEMO):
        for model in (Qwen3Reranker(name).settings.model, RerankerFields(model=name).model):
            assert (str(model), model) == ("demo", Qwen3Reranker("demo").settings.model)
    served = Qwen3Reranker(Word.DEMO, remote="http://localhost:1", template="client")
    assert served.remote is not None
    assert str(served.remote.model) == "demo"


def test_a_path_is_a_folder_and_never_a_hub_id_or_the_demo() -> None:
    folder = str(Path("demo").resolve())
    assert str(Qwen3Reranker(Path("demo")).settings.model) == str(RerankerFields(model=Path("demo")).model) == folder


MAKERS: dict[str, Callable[..., Any]] = {
    "facade": lambda **options: Qwen3Reranker("demo", scorer=OverlapScorer(), **options),
    "fields": lambda **options: RerankerFields(model="demo", **options),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_every_door_takes_a_whole_number_and_keeps_it_plain(make: Callable[..., Any], value: Any) -> None:
    assert type(make(top_n=value).top_n) is int
    made = make(max_length=value * 64, max_batch_tokens=value)
    assert (made.max_length, type(made.max_length)) == (128, int)
    settings = getattr(made, "settings", made)
    assert (settings.max_batch_tokens, type(settings.max_batch_tokens)) == (2, int)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("value", HALF, ids=repr)
def test_every_door_takes_a_probability_and_keeps_it_plain(make: Callable[..., Any], value: Any) -> None:
    assert type(make(min_score=value).min_score) is float
    server = make(remote="http://localhost:1", template="client", timeout=value) if make is MAKERS["fields"] else None
    assert server is None or type(server.timeout) is float


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("value", NO_NUMBER, ids=repr)
@pytest.mark.parametrize("option", ["top_n", "min_score", "max_length", "max_batch_tokens"])
def test_what_is_no_such_number_is_refused_by_name(make: Callable[..., Any], value: Any, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        make(**{option: value})


@pytest.mark.parametrize("value", [np.int64(1), np.array(1), torch.tensor(1), Decimal(1)], ids=repr)
def test_a_call_takes_the_same_numbers(value: Any) -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    assert len(reranker.rank("a", ["a", "b"], top_n=value, min_score=np.float32(0.1))) == 1
    with pytest.raises(SettingsError, match="top_n"):
        reranker.rank("a", ["a"], top_n=np.True_)


def test_settings_of_every_kind_hold_plain_values() -> None:
    server = RemoteSettings(
        url=np.str_("http://localhost:1"),
        template=np.str_("client"),
        timeout=np.float32(2),
        retries=np.int64(0),
        requests_at_once=np.int16(3),
        probe=np.True_,
    )
    assert [type(value) for value in (server.url, server.template, server.timeout, server.retries)] == [
        str,
        str,
        float,
        int,
    ]
    assert (type(server.requests_at_once), server.probe) == (int, True)
    reading = EmbeddingOptions(max_length=np.int64(64), batch_size=torch.tensor(8))
    assert (type(reading.max_length), type(reading.batch_size)) == (int, int)
    embedding = EmbeddingSettings(model=Path("some/folder"), dtype=Word.FLOAT32)
    assert (embedding.model, type(embedding.dtype)) == (str(Path("some/folder").absolute()), str)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_words_and_folders_are_taken_from_any_class(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make(dtype=Word.FLOAT32, long_documents=np.str_("error"), cache_dir=tmp_path, compile=np.False_)
    settings = getattr(made, "settings", made)
    assert (settings.dtype, type(settings.dtype), settings.cache_dir) == ("float32", str, str(tmp_path))
    assert (type(made.long_documents), settings.compile) == (str, False)
    assert Qwen3Reranker(tmp_path).settings.model == RerankerFields(model=tmp_path).model == str(tmp_path)


def test_an_assigned_field_is_plain_as_well() -> None:
    fields = RerankerFields(model="demo")
    fields.top_n, fields.min_score = np.int64(2), np.float32(0.5)
    assert json.loads(fields.model_dump_json())["top_n"] == 2
    assert (type(fields.top_n), type(fields.min_score)) == (int, float)


def test_a_ready_reranker_agrees_with_fields_of_other_classes(tmp_path: Path) -> None:
    ready = Qwen3Reranker(tmp_path, max_length=np.int64(512))
    assert RerankerFields(reranker=ready, model=tmp_path, max_length=np.int64(512)).max_length == 512


def test_queries_documents_and_instructions_are_read_by_their_text_and_not_by_their_name() -> None:
    scorer = OverlapScorer()
    Qwen3Reranker(scorer=scorer).rank(Word.DEMO, [Word.FLOAT32, np.str_("b")], instruction=Word.DEMO)
    (request,) = scorer.requests
    assert [request.query, *request.documents, request.instruction] == ["demo", "float32", "b", "demo"]
    assert {type(one) for one in (request.query, *request.documents, request.instruction)} == {str}


def test_thresholds_take_the_precision_of_any_library() -> None:
    scores, labels = [0.1, 0.9] * 20, [False, True] * 20
    found = propose_threshold(scores, labels, precision=np.float64(0.5), resamples=np.int64(10))
    assert found == propose_threshold(scores, labels, precision=0.5, resamples=10)
    with pytest.raises(RerankError, match="precision"):
        propose_threshold(scores, labels, precision=np.True_)
