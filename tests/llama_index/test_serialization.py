"""Every setting survives copies, pickles, dictionaries and JSON, and the token survives none of them."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import ValidationError

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.llama_index import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.llama_index.watchers import CallbackWatcher

TOKEN = "hf_do_not_show_this"
EVERY_SETTING: dict[str, Any] = {
    "model": "someone/a-fine-tune",
    "revision": "v2",
    "device": "cpu",
    "dtype": "float32",
    "attention": "sdpa",
    "kernels": "torch",
    "quantization": "int8",
    "instruction": "Find recipes",
    "top_n": 7,
    "min_score": 0.25,
    "max_length": 512,
    "long_documents": "windows",
    "timeout": 20.0,
    "max_waiting_tokens": 9000,
    "on_failure": "retrieval_order",
    "max_batch_tokens": 4096,
    "threads": 3,
    "compile": True,
    "cache": "memory",
    "cache_bytes": 2**20,
    "cache_dir": str(Path("models").resolve()),
    "local_files_only": True,
    "trust_remote_code": True,
    "metadata_mode": "llm",
    "keep_retrieval_score": True,
}
NOT_SERIALIZED = {"token", "api_key", "reranker", "callback_manager"}
OF_A_SERVER = {"remote", "protocol", "scores", "template", "probe"}
CONTRADICTS_ANOTHER = {"on_nonfinite", "devices", "device_map", *OF_A_SERVER}


def nodes_of(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


@pytest.fixture
def configured() -> Qwen3Rerank:
    return Qwen3Rerank(**EVERY_SETTING, token=TOKEN)


def settings(postprocessor: Qwen3Rerank) -> dict[str, Any]:
    return {name: getattr(postprocessor, name) for name in EVERY_SETTING}


def test_the_list_of_settings_here_is_complete_and_none_is_at_its_default() -> None:
    assert set(EVERY_SETTING) == set(Qwen3Rerank.model_fields) - NOT_SERIALIZED - CONTRADICTS_ANOTHER
    assert all(Qwen3Rerank.model_fields[name].default != value for name, value in EVERY_SETTING.items())


@pytest.mark.parametrize(
    "round_trip",
    [
        lambda it: Qwen3Rerank.from_dict(it.to_dict()),
        lambda it: Qwen3Rerank.from_json(it.to_json()),
        lambda it: Qwen3Rerank.model_validate(it.to_dict()),
        lambda it: Qwen3Rerank.model_validate_json(it.model_dump_json()),
        lambda it: Qwen3Rerank(**it.model_dump()),
        lambda it: pickle.loads(pickle.dumps(it)),
        copy.copy,
        copy.deepcopy,
        lambda it: it.model_copy(deep=True),
    ],
    ids=["dict", "json", "validate", "validate_json", "init", "pickle", "copy", "deepcopy", "model_copy"],
)
def test_every_setting_survives(configured: Qwen3Rerank, round_trip: Any) -> None:
    assert settings(configured) == EVERY_SETTING
    assert settings(round_trip(configured)) == EVERY_SETTING


@pytest.mark.parametrize("several", [{"devices": ("cuda:0", "cuda:1")}, {"device_map": "auto"}], ids=str)
def test_what_says_several_devices_survives_as_well(several: dict[str, Any]) -> None:
    configured, (name, value) = Qwen3Rerank(model="demo", **several), *several.items()
    for read in (
        Qwen3Rerank.from_dict(configured.to_dict()),
        Qwen3Rerank.from_json(configured.to_json()),
        pickle.loads(pickle.dumps(configured)),
        copy.deepcopy(configured),
    ):
        assert getattr(read, name) == getattr(read._reranker.settings, name) == value


def test_the_setting_that_goes_with_no_quantization_survives_as_well() -> None:
    configured = Qwen3Rerank(model="demo", on_nonfinite="float32")
    assert Qwen3Rerank.from_json(configured.to_json()).on_nonfinite == "float32"
    assert pickle.loads(pickle.dumps(configured)).on_nonfinite == "float32"
    assert configured._reranker.on_nonfinite == "float32"


def test_the_class_name_is_stable(configured: Qwen3Rerank) -> None:
    assert Qwen3Rerank.class_name() == configured.to_dict()["class_name"] == "Qwen3Rerank"


def test_the_json_holds_plain_words(configured: Qwen3Rerank) -> None:
    others = {name: Qwen3Rerank.model_fields[name].default for name in CONTRADICTS_ANOTHER}
    assert json.loads(configured.to_json()) == EVERY_SETTING | others | {"class_name": "Qwen3Rerank"}


def test_from_dict_takes_changes_along(configured: Qwen3Rerank) -> None:
    assert Qwen3Rerank.from_dict(configured.to_dict(), top_n=1).top_n == 1


def test_there_is_a_json_schema_with_every_setting() -> None:
    properties = Qwen3Rerank.model_json_schema()["properties"]
    assert set(EVERY_SETTING) <= set(properties)
    assert "reranker" not in properties


@pytest.mark.parametrize(
    "show",
    [repr, str, Qwen3Rerank.to_dict, Qwen3Rerank.to_json, Qwen3Rerank.model_dump_json, pickle.dumps],
    ids=["repr", "str", "dict", "json", "model_dump_json", "pickle"],
)
def test_the_token_is_shown_nowhere(configured: Qwen3Rerank, show: Any) -> None:
    assert configured.token.get_secret_value() == TOKEN
    assert TOKEN.encode() not in pickle.dumps(show(configured))
    assert configured.token.get_secret_value() == TOKEN


@pytest.mark.parametrize("wrong", [{"top_n": -1}, {"max_batch_tokens": 0}, {"max_length": 10}, {"nonsense": 1}])
def test_the_token_is_not_in_an_error_either(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Qwen3Rerank(token=TOKEN, **wrong)
    assert TOKEN not in str(caught.value)


def test_the_repr_is_short() -> None:
    assert repr(Qwen3Rerank(model="demo")) == "Qwen3Rerank(model='demo')"
    assert repr(Qwen3Rerank(model="demo", top_n=5, keep_retrieval_score=True)) == (
        "Qwen3Rerank(model='demo', top_n=5, keep_retrieval_score=True)"
    )


@pytest.mark.parametrize("options", [{"top_n": -1}, {"top_n": 1.5}, {"min_score": 1.1}, {"metadata_mode": "some"}])
def test_an_impossible_value_is_a_validation_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        Qwen3Rerank(**options)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValidationError, match="topn"):
        Qwen3Rerank(topn=3)


def test_a_max_length_below_the_template_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(ValidationError, match="must be at least 60"):
        Qwen3Rerank(max_length=59)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: it.model_copy(deep=True)])
def test_copies_share_the_engine(duplicate: Any) -> None:
    scorer = OverlapScorer()
    original = Qwen3Rerank(reranker=Qwen3Reranker(scorer=scorer))
    duplicate(original).postprocess_nodes(nodes_of("a"), query_str="a")
    original.postprocess_nodes(nodes_of("a"), query_str="a")
    assert len(scorer.requests) == 2


def test_a_copy_with_another_top_n_leaves_the_original_alone(postprocessor: Qwen3Rerank) -> None:
    one = postprocessor.model_copy(update={"top_n": 1})
    nodes = nodes_of("a", "b")
    assert len(one.postprocess_nodes(nodes, query_str="a")) == 1
    assert len(postprocessor.postprocess_nodes(nodes, query_str="a")) == 2


def test_an_assigned_setting_takes_effect(postprocessor: Qwen3Rerank, scorer: OverlapScorer) -> None:
    postprocessor.top_n, postprocessor.instruction = 1, "Find recipes"
    assert len(postprocessor.postprocess_nodes(nodes_of("a", "b"), query_str="a")) == 1
    assert scorer.requests[0].instruction == "Find recipes"


def test_a_pickle_ranks_like_the_original(model: str) -> None:
    original = Qwen3Rerank(model=model, top_n=None)
    nodes = nodes_of("one", "two", "three")
    expected = original.postprocess_nodes(nodes, query_str="which?")
    restored = pickle.loads(pickle.dumps(original))
    assert restored.postprocess_nodes(nodes, query_str="which?") == expected


def test_pickling_leaves_the_original_whole(postprocessor: Qwen3Rerank) -> None:
    watcher = CallbackWatcher()
    watcher.lock = threading.Lock()  # cannot be pickled, as in many handlers
    postprocessor.callback_manager = CallbackManager([watcher])
    restored = pickle.loads(pickle.dumps(postprocessor))
    assert restored.callback_manager.handlers == []
    postprocessor.postprocess_nodes(nodes_of("a"), query_str="a")
    assert len(watcher.calls) == 2


def test_an_engine_that_cannot_be_pickled_is_an_error_and_not_left_out() -> None:
    scorer = OverlapScorer()
    scorer.lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(Qwen3Rerank(reranker=Qwen3Reranker(scorer=scorer)))


def test_a_ready_reranker_fills_the_fields_so_that_they_can_be_loaded_elsewhere() -> None:
    ready = Qwen3Reranker("demo", max_length=512, instruction="Find recipes", min_score=0.1, device="cpu")
    restored = Qwen3Rerank.from_dict(Qwen3Rerank(reranker=ready).to_dict())
    assert (restored.model, restored.max_length, restored.device) == ("demo", 512, "cpu")
    assert (restored.instruction, restored.min_score) == ("Find recipes", 0.1)


def test_a_setting_that_contradicts_a_ready_reranker_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_length"):
        Qwen3Rerank(reranker=Qwen3Reranker("demo", max_length=512), max_length=1024)


def test_making_one_loads_nothing_and_using_it_does() -> None:
    close_all()
    postprocessor = Qwen3Rerank(model="demo")
    assert not registry._entries
    postprocessor.postprocess_nodes(nodes_of("a"), query_str="a")
    assert len(registry._entries) == 1
