"""The settings as fields: the same words everywhere, the same defaults, no secrets."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.doubles import OverlapScorer

FACADE = {name: p for name, p in inspect.signature(Qwen3Reranker.__init__).parameters.items() if name != "self"}


def test_facade_fields_and_engine_settings_use_the_same_words() -> None:
    assert set(FACADE) - {"scorer"} == set(RerankerFields.model_fields) - {"reranker", "on_failure"}
    assert set(EngineSettings.__dataclass_fields__) < set(FACADE)


def test_defaults_are_the_same_everywhere_except_for_the_hosts_top_n() -> None:
    for name, field in RerankerFields.model_fields.items():
        if name not in ("reranker", "top_n", "on_failure"):
            assert field.default == FACADE[name].default, name
    for name, setting in EngineSettings.__dataclass_fields__.items():
        assert setting.default == FACADE[name].default, name
    assert RerankerFields.model_fields["top_n"].default == 3


def test_every_field_has_a_description() -> None:
    assert all(field.description for field in RerankerFields.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_n": -1},
        {"min_score": 2},
        {"dtype": "bf16"},
        {"max_length": 10},
        {"long_documents": "chunks"},
        {"on_nonfinite": "ignore"},
        {"batch_size": 8},
        {"max_batch_tokens": 0},
        {"devices": []},
        {"devices": "cuda:0"},
        {"devices": ["cpu"], "device": "cpu"},
        {"device_map": "sequential"},
    ],
    ids=str,
)
def test_a_malformed_or_unknown_option_is_a_validation_error_that_names_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RerankerFields(model="demo", **wrong)


def test_the_token_reaches_the_engine_and_nothing_else() -> None:
    fields = RerankerFields(model="demo", token="hf_secret")
    assert fields._reranker.settings.token == "hf_secret"
    for shown in (repr(fields), str(fields), fields.model_dump_json(), str(fields.model_dump())):
        assert "hf_secret" not in shown
    assert b"hf_secret" not in pickle.dumps(fields)
    with pytest.raises(ValidationError) as caught:
        RerankerFields(model="demo", token="hf_secret", nonsense=1)
    assert "hf_secret" not in str(caught.value)


def test_a_ready_reranker_fills_the_fields() -> None:
    ready = Qwen3Reranker("demo", dtype="float32", instruction="find", max_length=500, scorer=OverlapScorer())
    fields = RerankerFields(reranker=ready)
    assert fields._reranker is ready
    assert (fields.model, fields.dtype, fields.instruction, fields.max_length) == ("demo", "float32", "find", 500)
    with pytest.raises(ValidationError, match="contradicts"):
        RerankerFields(reranker=ready, model="other")


def test_what_is_dumped_makes_an_equal_one() -> None:
    fields = RerankerFields(
        model="demo", top_n=None, min_score=0.25, device="cpu", dtype="float32", max_batch_tokens=99
    )
    assert RerankerFields.model_validate(fields.model_dump()) == fields
    assert RerankerFields.model_validate_json(fields.model_dump_json()) == fields
    assert pickle.loads(pickle.dumps(fields)) == fields


@pytest.mark.parametrize("several", [{"devices": ["cuda:0", "cuda:1"]}, {"device_map": "auto"}], ids=str)
def test_several_devices_are_dumped_and_read_again(several: dict[str, Any]) -> None:
    fields = RerankerFields(model="demo", **several)
    assert RerankerFields.model_validate(fields.model_dump()) == fields
    assert RerankerFields.model_validate_json(fields.model_dump_json()) == fields
    assert json.loads(fields.model_dump_json())[next(iter(several))] == next(iter(several.values()))
    assert fields._reranker.settings == Qwen3Reranker("demo", **several).settings
    assert pickle.loads(pickle.dumps(fields)) == fields


def test_devices_that_are_assigned_or_agree_with_a_ready_reranker_may_be_a_list() -> None:
    fields = RerankerFields(model="demo")
    fields.devices = ["cpu", "cpu"]  # type: ignore[assignment]
    assert fields._reranker.settings.devices == ("cpu", "cpu")
    assert fields._reranker is fields._reranker
    ready = Qwen3Reranker("demo", devices=["cpu", "cpu"], scorer=OverlapScorer())
    assert RerankerFields(reranker=ready, devices=["cpu", "cpu"]).devices == ("cpu", "cpu")
    with pytest.raises(ValidationError, match="contradicts"):
        RerankerFields(reranker=ready, devices=["cpu"])


def test_deep_copies_share_the_engine() -> None:
    fields = RerankerFields(model="demo")
    assert copy.deepcopy(fields)._reranker._scorer() is fields._reranker._scorer()
    assert fields.model_copy(deep=True)._reranker._scorer() is fields._reranker._scorer()


def test_an_assigned_setting_is_honoured() -> None:
    fields = RerankerFields(model="demo")
    before = fields._reranker
    fields.max_length = 999
    assert fields._reranker is not before
    assert fields._reranker.max_length == 999


def test_an_assigned_token_is_honoured_and_an_equal_one_changes_nothing() -> None:
    fields = RerankerFields(model="someone/gated", token="hf_old")
    fields.token = SecretStr("hf_new")
    renewed = fields._reranker
    assert renewed.settings.token == "hf_new"
    fields.token = SecretStr("hf_new")
    assert fields._reranker is renewed
    fields.token = None
    assert fields._reranker.settings.token is None


@pytest.mark.parametrize(
    ("given", "field"),
    [({}, "theirs"), ({"instruction": "mine"}, "mine"), ({"instruction": None}, None)],
    ids=["left out", "given", "none"],
)
def test_a_ready_rerankers_instruction_holds_unless_the_adapter_says_otherwise(
    given: dict[str, Any], field: str | None
) -> None:
    scorer = OverlapScorer()
    fields = RerankerFields(reranker=Qwen3Reranker(scorer=scorer, instruction="theirs"), **given)
    assert fields.instruction == field
    fields._reranker.rank("q", ["d"], **fields._options)
    assert scorer.requests[0].instruction == (field or DEFAULT_INSTRUCTION)


def test_a_limit_of_none_in_the_adapter_lifts_the_limit_of_a_ready_reranker() -> None:
    ready = Qwen3Reranker(scorer=OverlapScorer(), top_n=1, min_score=0.9)
    for given, count in (({}, 0), ({"min_score": None}, 1), ({"top_n": None, "min_score": None}, 3)):
        fields = RerankerFields(reranker=ready, **given)
        assert len(fields._reranker.rank("a b", ["a", "b", "c"], **fields._options)) == count
