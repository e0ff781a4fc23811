"""The first stage in LangChain: LangChain's own suites, vector stores with our compressor, and the fields."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_qdrant import QdrantVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, InputTypeError, RequestError
from qwen3_rerank_plugins.langchain import Qwen3Embeddings, Qwen3Rerank
from tests.langchain import corpus

SECRET = "hf_never_to_be_seen"
ALL = {
    "model": "owner/name",
    "revision": "main",
    "device": "cpu",
    "dtype": "float32",
    "instruction": "Find colors",
    "truncate_dim": 32,
    "max_length": 512,
    "batch_size": 7,
    "show_progress": True,
    "cache_dir": "/somewhere",
    "threads": 1,
    "local_files_only": True,
    "trust_remote_code": True,
}
COPIES: dict[str, Callable[[Qwen3Embeddings], Qwen3Embeddings]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda embeddings: embeddings.model_copy(),
    "deep model_copy": lambda embeddings: embeddings.model_copy(deep=True),
    "pickle": lambda embeddings: pickle.loads(pickle.dumps(embeddings)),
    "dict": lambda embeddings: Qwen3Embeddings.model_validate(embeddings.model_dump()),
    "JSON": lambda embeddings: Qwen3Embeddings.model_validate_json(embeddings.model_dump_json()),
}
STORES: dict[str, Callable[[list[Document], Embeddings], VectorStore]] = {
    "in-memory": InMemoryVectorStore.from_documents,
    "Qdrant": lambda documents, embeddings: QdrantVectorStore.from_documents(
        [document.model_copy(update={"id": None}) for document in documents], embeddings, location=":memory:"
    ),
}

# The suite is written for pytest-asyncio's auto mode. A mark is no override, as one of its own tests checks.
for _name in ("test_aembed_query", "test_aembed_documents"):
    pytest.mark.asyncio(getattr(EmbeddingsIntegrationTests, _name))


class OnTheRandomCheckpoint:
    """What both suites ask for."""

    @pytest.fixture(autouse=True)
    def _find_checkpoint(self, embedding_checkpoint: Path) -> None:
        self.folder = embedding_checkpoint

    @property
    def embeddings_class(self) -> type[Qwen3Embeddings]:
        return Qwen3Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": str(self.folder)}


class TestUnitSuite(OnTheRandomCheckpoint, EmbeddingsUnitTests):
    """langchain-tests, unit."""


class TestIntegrationSuite(OnTheRandomCheckpoint, EmbeddingsIntegrationTests):
    """langchain-tests, integration."""


@pytest.fixture
def embeddings(embedding_checkpoint: Path) -> Qwen3Embeddings:
    return Qwen3Embeddings(model=str(embedding_checkpoint))


def test_vectors_are_lists_of_python_floats_that_json_takes(embeddings: Qwen3Embeddings) -> None:
    found = [embeddings.embed_query("red"), *embeddings.embed_documents(["red", "green"])]
    assert all(type(number) is float for vector in found for number in vector)
    assert json.loads(json.dumps(found)) == found


def test_nothing_comes_of_nothing_and_no_model_is_looked_for() -> None:
    assert Qwen3Embeddings(model="/nowhere").embed_documents([]) == []
    assert asyncio.run(Qwen3Embeddings(model="/nowhere").aembed_documents([])) == []
    with pytest.raises(CheckpointNotFoundError):
        Qwen3Embeddings(model="/nowhere").embed_query("red")


def test_the_async_twins_give_the_same_in_one_loop_after_another(embeddings: Qwen3Embeddings) -> None:
    async def both() -> tuple[list[float], list[list[float]]]:
        return await asyncio.gather(embeddings.aembed_query("red"), embeddings.aembed_documents(["red", "green"]))

    for _ in range(2):
        query, documents = asyncio.run(both())
        assert query == embeddings.embed_query("red")
        assert documents == embeddings.embed_documents(["red", "green"])


def test_threads_get_what_a_lone_caller_gets(embeddings: Qwen3Embeddings) -> None:
    questions = corpus.QUESTIONS * 8
    alone = {question: embeddings.embed_query(question) for question in corpus.QUESTIONS}
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(embeddings.embed_query, questions)) == [alone[question] for question in questions]


@pytest.mark.parametrize("method", ["embed_documents", "aembed_documents"])
def test_what_is_not_text_is_an_error_of_ours(embeddings: Qwen3Embeddings, method: str) -> None:
    def call(texts: Any) -> Any:
        found = getattr(embeddings, method)(texts)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found

    with pytest.raises(InputTypeError, match=r"texts\[1\]"):
        call(["red", 3])
    with pytest.raises(RequestError, match="wrap it"):
        call("red")
    with pytest.raises(InputTypeError, match=r"texts\[0\]"):
        embeddings.embed_query(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("store", STORES)
def test_a_store_finds_by_the_cosine_of_the_vectors(store: str, embeddings: Qwen3Embeddings) -> None:
    documents = corpus.documents()
    vectors = np.array(embeddings.embed_documents([document.page_content for document in documents]))
    built = STORES[store](documents, embeddings)
    for question in corpus.QUESTIONS:
        order = np.argsort(-vectors @ np.array(embeddings.embed_query(question)), kind="stable")
        found = built.similarity_search(question, k=len(documents))
        assert [document.page_content for document in found] == [documents[index].page_content for index in order]


@pytest.mark.parametrize("store", STORES)
def test_with_the_compressor_behind_it_a_store_makes_both_stages(store: str, embeddings: Qwen3Embeddings) -> None:
    retriever = ContextualCompressionRetriever(
        base_retriever=STORES[store](corpus.documents(), embeddings).as_retriever(search_kwargs={"k": 6}),
        base_compressor=Qwen3Rerank(model="demo", top_n=3),
    )
    question = corpus.QUESTIONS[0]
    for found in (retriever.invoke(question), asyncio.run(retriever.ainvoke(question))):
        scores = [document.metadata["relevance_score"] for document in found]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)


def test_a_progress_bar_is_drawn_where_it_is_asked_for_and_nowhere_else(
    embedding_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Qwen3Embeddings(model=str(embedding_checkpoint)).embed_documents(["red"])
    capfd.readouterr()  # what loading may have drawn
    Qwen3Embeddings(model=str(embedding_checkpoint), batch_size=1).embed_documents(["red"] * 3)
    assert capfd.readouterr().err == ""
    Qwen3Embeddings(model=str(embedding_checkpoint), batch_size=1, show_progress=True).embed_documents(["red"] * 3)
    assert "Batches" in (drawn := capfd.readouterr().err)
    assert "3/3" in drawn


def test_every_setting_is_a_field_with_a_description_and_survives_json() -> None:
    assert set(ALL) | {"token"} == set(Qwen3Embeddings.model_fields)
    assert all(field.description for field in Qwen3Embeddings.model_fields.values())
    assert all(Qwen3Embeddings.model_fields[name].default != value for name, value in ALL.items())
    assert json.loads(Qwen3Embeddings(**ALL).model_dump_json()) == ALL


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_same_settings(how: str) -> None:
    copied = COPIES[how](Qwen3Embeddings(**ALL))
    assert copied == Qwen3Embeddings(**ALL)
    assert copied.model_dump() == ALL


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_one_that_has_loaded_shares_its_model(how: str, embeddings: Qwen3Embeddings) -> None:
    expected = embeddings.embed_query("red")
    loaded = dict(registry._entries)
    assert COPIES[how](embeddings).embed_query("red") == expected
    assert dict(registry._entries) == loaded


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"truncate_dim": 0}, "truncate_dim must be a positive"),
        ({"max_length": -1}, "max_length must be a positive"),
        ({"batch_size": 0}, "batch_size must be a positive"),
        ({"dtype": "float8"}, "bfloat16"),
        ({"modle": "owner/name"}, "modle"),
        ({"model": " "}, "non-empty"),
        ({"instruction": 3}, "valid string"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_made_without_showing_the_token(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Qwen3Embeddings(token=SECRET, **wrong)
    assert SECRET not in str(caught.value)


def test_the_token_reaches_the_settings_and_no_pickle_dump_or_text() -> None:
    embeddings = Qwen3Embeddings(model="owner/name", token=SECRET)
    assert embeddings._settings.token == SECRET
    assert pickle.loads(pickle.dumps(embeddings)).token is None
    for shown in (repr(embeddings), str(embeddings), embeddings.model_dump_json(), repr(embeddings._settings)):
        assert SECRET not in shown
    assert SECRET.encode() not in pickle.dumps(embeddings)


def test_its_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(Qwen3Embeddings()) == "Qwen3Embeddings(model='Qwen/Qwen3-Embedding-0.6B')"
    shown = repr(Qwen3Embeddings(model="owner/name", truncate_dim=256))
    assert shown == "Qwen3Embeddings(model='owner/name', truncate_dim=256)"


def test_an_assigned_setting_counts_from_the_next_call_on(embeddings: Qwen3Embeddings) -> None:
    whole = embeddings.embed_query("red")
    embeddings.truncate_dim = 8
    assert len(embeddings.embed_query("red")) == 8
    embeddings.truncate_dim = None
    embeddings.instruction = "Find colors"
    assert embeddings.embed_query("red") != whole


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_sentence_transformers_only_the_first_stage_is_missing_and_says_so() -> None:
    ran = python(
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from qwen3_rerank_plugins.langchain import Qwen3Rerank; Qwen3Rerank()\n"
        "from qwen3_rerank_plugins.langchain import *\n"
        "from qwen3_rerank_plugins.langchain import Qwen3Embeddings"
    )
    assert ran.stderr.splitlines()[-1] == (
        "qwen3_rerank_plugins.errors.MissingExtraError: sentence-transformers is not installed. "
        "Install it with: pip install 'qwen3-rerank-plugins[embeddings]'"
    )
    assert "line 4" in ran.stderr


@pytest.mark.parametrize("unneeded", ["torch", "transformers", "sentence_transformers", "llama_index"])
def test_making_one_and_giving_it_nothing_to_do_does_not_import(unneeded: str) -> None:
    ran = python(
        "import sys; from qwen3_rerank_plugins.langchain import Qwen3Embeddings\n"
        "assert Qwen3Embeddings().embed_documents([]) == []\n"
        f"sys.exit({unneeded!r} in sys.modules)"
    )
    assert ran.returncode == 0, ran.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    from qwen3_rerank_plugins import langchain

    with pytest.raises(AttributeError, match="has no attribute 'Qwen3Embedding'"):
        _ = langchain.Qwen3Embedding
