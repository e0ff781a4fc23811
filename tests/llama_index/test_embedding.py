"""The first stage in LlamaIndex: its base class, indices with our postprocessor, and round trips."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import ValidationError

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.embedding import model as model_module
from qwen3_rerank_plugins.errors import InputTypeError
from qwen3_rerank_plugins.llama_index import Qwen3Embedding, Qwen3Rerank
from tests.llama_index.conftest import PASSAGES, QUESTION
from tests.llama_index.watchers import EventWatcher

TOKEN = "hf_do_not_show_this"
ALL: dict[str, Any] = {
    "model": "someone/a-fine-tune",
    "revision": "v2",
    "device": "cpu",
    "dtype": "float32",
    "instruction": "Find recipes",
    "truncate_dim": 32,
    "max_length": 512,
    "embed_batch_size": 7,
    "num_workers": 2,
    "cache_dir": "/models",
    "threads": 1,
    "local_files_only": True,
    "trust_remote_code": True,
}
NOT_SERIALIZED = {"token", "callback_manager", "rate_limiter", "embeddings_cache", "model_name"}
ROUND_TRIPS: dict[str, Callable[[Qwen3Embedding], Qwen3Embedding]] = {
    "dict": lambda it: Qwen3Embedding.from_dict(it.to_dict()),
    "json": lambda it: Qwen3Embedding.from_json(it.to_json()),
    "validate": lambda it: Qwen3Embedding.model_validate(it.to_dict()),
    "validate_json": lambda it: Qwen3Embedding.model_validate_json(it.model_dump_json()),
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda it: it.model_copy(deep=True),
}


@pytest.fixture(autouse=True)
def loop_of_the_thread() -> Iterator[None]:
    """Synchronous query engines take the thread's loop; where there is none they leave one open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def embedding(embedding_checkpoint: Path) -> Qwen3Embedding:
    return Qwen3Embedding(model=str(embedding_checkpoint), embed_batch_size=3)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the requests that reach the model, each of which fits in one batch."""
    seen: list[int] = []
    batch_sizes: set[int] = set()
    embed = model_module.LoadedEmbedder.embed

    def count(self: Any, request: Any) -> Any:
        seen.append(len(request.texts))
        batch_sizes.add(request.options.batch_size)
        return embed(self, request)

    monkeypatch.setattr(model_module.LoadedEmbedder, "embed", count)
    yield seen
    assert batch_sizes in ({3}, {10}), "not as the fields say"


def settings(embedding: Qwen3Embedding) -> dict[str, Any]:
    return {name: getattr(embedding, name) for name in ALL}


def test_it_is_the_embedding_that_hosts_check_for() -> None:
    assert issubclass(Qwen3Embedding, BaseEmbedding)
    assert Qwen3Embedding.class_name() == "Qwen3Embedding"


def test_texts_and_queries_are_read_differently_and_async_twins_agree(embedding: Qwen3Embedding) -> None:
    text, query = embedding.get_text_embedding("red"), embedding.get_query_embedding("red")
    assert text != query
    assert asyncio.run(embedding.aget_text_embedding("red")) == text
    assert asyncio.run(embedding.aget_query_embedding("red")) == query
    assert all(type(number) is float for number in text + query)
    agreed = embedding.get_agg_embedding_from_queries(["red", "red"])
    assert agreed == pytest.approx(query)


def test_the_hosts_batch_size_is_honoured(embedding: Qwen3Embedding, batches: list[int]) -> None:
    texts = list(PASSAGES.values())
    found = embedding.get_text_embedding_batch(texts)
    assert batches == [3, 3, 2]
    assert asyncio.run(embedding.aget_text_embedding_batch(texts)) == found
    assert sorted(batches[3:]) == [2, 3, 3]
    assert found == pytest.approx(np.array([embedding.get_text_embedding(text) for text in texts]), abs=1e-5)


def test_nothing_comes_of_nothing_and_no_model_is_looked_for() -> None:
    assert Qwen3Embedding(model="/nowhere").get_text_embedding_batch([]) == []
    assert asyncio.run(Qwen3Embedding(model="/nowhere").aget_text_embedding_batch([])) == []


def test_what_is_not_text_is_an_error_of_ours(embedding: Qwen3Embedding) -> None:
    for call in (embedding.get_query_embedding, embedding.get_text_embedding):
        with pytest.raises(InputTypeError, match=r"texts\[0\] must be a string, got int"):
            call(3)  # type: ignore[arg-type]


def test_threads_and_gathered_tasks_get_what_a_lone_caller_gets(embedding: Qwen3Embedding) -> None:
    questions = [f"question {number}" for number in range(8)] * 4
    alone = {question: embedding.get_query_embedding(question) for question in questions[:8]}
    expected = [alone[question] for question in questions]

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*map(embedding.aget_query_embedding, questions))

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(embedding.get_query_embedding, questions)) == expected
    assert asyncio.run(ask_all()) == expected
    assert asyncio.run(ask_all()) == expected


def test_an_index_finds_by_the_cosine_of_the_vectors(embedding: Qwen3Embedding) -> None:
    nodes = [TextNode(text=text, id_=name) for name, text in PASSAGES.items()]
    retriever = VectorStoreIndex(nodes, embed_model=embedding).as_retriever(similarity_top_k=len(nodes))
    vectors = np.array(embedding.get_text_embedding_batch(list(PASSAGES.values())))
    order = np.argsort(-vectors @ np.array(embedding.get_query_embedding(QUESTION)), kind="stable")
    expected = [list(PASSAGES)[index] for index in order]
    assert [found.node_id for found in retriever.retrieve(QUESTION)] == expected
    assert [found.node_id for found in asyncio.run(retriever.aretrieve(QUESTION))] == expected


@pytest.mark.parametrize("show_progress", [False, True])
@pytest.mark.parametrize("use_async", [False, True])
def test_with_the_postprocessor_behind_it_an_index_makes_both_stages(
    embedding: Qwen3Embedding, show_progress: bool, use_async: bool
) -> None:
    nodes = [TextNode(text=text, id_=name) for name, text in PASSAGES.items()]
    index = VectorStoreIndex(nodes, embed_model=embedding, show_progress=show_progress, use_async=use_async)
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=6, node_postprocessors=[Qwen3Rerank(model="demo", top_n=2)]
    )
    found = engine.query(QUESTION).source_nodes
    assert len(found) == 2
    assert found[0].score >= found[1].score


def test_it_is_a_transformation_of_an_ingestion_pipeline(embedding: Qwen3Embedding) -> None:
    pipeline = IngestionPipeline(transformations=[embedding])
    (node,) = pipeline.run(nodes=[TextNode(text="red")])
    assert node.embedding == embedding.get_text_embedding("red")


def test_the_hosts_cache_is_used(embedding_checkpoint: Path, batches: list[int]) -> None:
    embedding = Qwen3Embedding(model=str(embedding_checkpoint), embeddings_cache=SimpleKVStore())
    assert embedding.get_text_embedding_batch(["red", "green"]) == embedding.get_text_embedding_batch(["red", "green"])
    assert batches == [2]


def test_every_batch_is_announced_in_both_ways_under_the_name_of_the_model(
    embedding: Qwen3Embedding, events: EventWatcher
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    embedding.callback_manager = CallbackManager([debug])
    embedding.get_text_embedding_batch(["red", "green", "blue", "black"])
    starts = [event for event in events.seen if isinstance(event, EmbeddingStartEvent)]
    ends = [event for event in events.seen if isinstance(event, EmbeddingEndEvent)]
    assert [event.model_dict["model_name"] for event in starts] == [embedding.model] * 2
    assert [event.chunks for event in ends] == [["red", "green", "blue"], ["black"]]
    pairs = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert [len(end.payload[EventPayload.EMBEDDINGS]) for _, end in pairs] == [3, 1]


def test_every_setting_is_a_field_with_a_description_and_none_is_at_its_default_here() -> None:
    assert set(ALL) == set(Qwen3Embedding.model_fields) - NOT_SERIALIZED
    assert all(field.description for name, field in Qwen3Embedding.model_fields.items() if name != "callback_manager")
    assert all(Qwen3Embedding.model_fields[name].default != value for name, value in ALL.items())


@pytest.mark.parametrize("how", ROUND_TRIPS)
def test_every_setting_survives(how: str) -> None:
    found = ROUND_TRIPS[how](Qwen3Embedding(**ALL, token=TOKEN))
    assert settings(found) == ALL
    assert found.model_name == ALL["model"]


@pytest.mark.parametrize("how", ROUND_TRIPS)
def test_a_setting_that_was_assigned_survives(how: str) -> None:
    embedding = Qwen3Embedding(model="one")
    embedding.model = "another"
    assert ROUND_TRIPS[how](embedding).model == "another"
    assert embedding.to_payload()["model_name"] == "another"
    assert pickle.loads(pickle.dumps(embedding)).model_name == "another"


@pytest.mark.parametrize("how", ROUND_TRIPS)
def test_a_copy_of_one_that_has_loaded_shares_its_model(how: str, embedding: Qwen3Embedding) -> None:
    expected = embedding.get_query_embedding("red")
    loaded = dict(registry._entries)
    assert ROUND_TRIPS[how](embedding).get_query_embedding("red") == expected
    assert dict(registry._entries) == loaded


def test_the_token_is_in_no_dump_pickle_event_or_text() -> None:
    embedding = Qwen3Embedding(model="owner/name", token=TOKEN)
    assert embedding._settings.token == TOKEN
    for shown in (repr(embedding), str(embedding), embedding.to_json(), json.dumps(embedding.to_payload())):
        assert TOKEN not in shown
    assert TOKEN.encode() not in pickle.dumps(embedding)
    assert len(repr(embedding)) < 100
    with pytest.raises(ValidationError) as caught:
        Qwen3Embedding(token=TOKEN, modle="owner/name")
    assert TOKEN not in str(caught.value)


def test_the_hosts_word_for_the_model_is_understood_and_must_not_contradict_ours() -> None:
    assert Qwen3Embedding(model_name="owner/name").model == "owner/name"
    assert Qwen3Embedding(model="owner/name").model_name == "owner/name"
    assert Qwen3Embedding().model == Qwen3Embedding().model_name == "Qwen/Qwen3-Embedding-0.6B"
    with pytest.raises(ValidationError, match="model_name='one' contradicts model='another'"):
        Qwen3Embedding(model_name="one", model="another")


@pytest.mark.parametrize("wrong", [{"truncate_dim": 0}, {"embed_batch_size": 0}, {"dtype": "bf16"}, {"batch_size": 3}])
def test_a_wrong_setting_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Qwen3Embedding(**wrong)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_sentence_transformers_only_the_first_stage_is_missing_and_says_so() -> None:
    ran = python(
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from qwen3_rerank_plugins.llama_index import *; Qwen3Rerank()\n"
        "from qwen3_rerank_plugins.llama_index import Qwen3Embedding"
    )
    assert "line 3" in ran.stderr
    assert "pip install 'qwen3-rerank-plugins[embeddings]'" in ran.stderr.splitlines()[-1]


def test_making_one_loads_no_torch() -> None:
    ran = python(
        "import sys; from qwen3_rerank_plugins.llama_index import Qwen3Embedding; Qwen3Embedding()\n"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    assert ran.returncode == 0, ran.stderr
