"""The adapters over a server: the same words, the same results, and a key that shows nowhere."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import ValidationError

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RemoteRefusedError, SettingsError
from qwen3_rerank_plugins.langchain import Qwen3Rerank as LangChainRerank
from qwen3_rerank_plugins.llama_index import Qwen3Rerank as LlamaIndexRerank
from qwen3_rerank_plugins.remote.settings import REMOTE_OPTIONS, remote_options
from tests.remote.app import RerankApp
from tests.remote.conftest import Serve

SECRET = "sk-NeverToBeSeenAnywhere"
TEXTS = ["gravity pulls", "the capital of China is Beijing", "the capital of Japan"]
QUERY = "the capital of China"
Adapter = Callable[..., Any]


@pytest.fixture(params=[LangChainRerank, LlamaIndexRerank], ids=["langchain", "llama_index"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def words(serve: Serve) -> dict[str, Any]:
    """Of an adapter at a server that wants a key."""
    url = serve(RerankApp("cohere", key=SECRET))
    return {"model": "m", "remote": url, "template": "server", "protocol": "cohere", "probe": False, "api_key": SECRET}


def rerank(made: Any, query: str = QUERY) -> list[tuple[str, float]]:
    if isinstance(made, LangChainRerank):
        found = made.compress_documents([Document(page_content=text) for text in TEXTS], query)
        return [(document.page_content, document.metadata["relevance_score"]) for document in found]
    nodes = made.postprocess_nodes([NodeWithScore(node=TextNode(text=text)) for text in TEXTS], query_str=query)
    return [(node.node.get_content(), node.score) for node in nodes]


async def arerank(made: Any, query: str = QUERY) -> list[tuple[str, float]]:
    if isinstance(made, LangChainRerank):
        found = await made.acompress_documents([Document(page_content=text) for text in TEXTS], query)
        return [(document.page_content, document.metadata["relevance_score"]) for document in found]
    nodes = await made.apostprocess_nodes([NodeWithScore(node=TextNode(text=text)) for text in TEXTS], query_str=query)
    return [(node.node.get_content(), node.score) for node in nodes]


def test_an_adapter_ranks_on_a_server(adapter: Adapter, words: dict[str, Any]) -> None:
    found = rerank(adapter(**words))
    assert [text for text, _ in found] == [TEXTS[1], TEXTS[2], TEXTS[0]]
    assert found[0][1] == pytest.approx(1 / (1 + 2.718281828 ** -(4 - 1.5)))


def test_threads_and_coroutines_get_what_one_caller_gets(adapter: Adapter, words: dict[str, Any]) -> None:
    made = adapter(**words)
    queries = [f"{QUERY} {number}" for number in range(32)]
    alone = [rerank(made, query) for query in queries]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda query: rerank(made, query), queries)) == alone

    async def together() -> list[Any]:
        return await asyncio.gather(*(arerank(made, query) for query in queries))

    assert asyncio.run(together()) == alone


def test_a_wrong_key_reaches_the_caller_as_our_error(adapter: Adapter, words: dict[str, Any]) -> None:
    with pytest.raises(RemoteRefusedError, match="wants another api_key"):
        rerank(adapter(**{**words, "api_key": "other"}))


def test_a_key_that_is_assigned_anew_is_the_one_that_is_sent(adapter: Adapter, words: dict[str, Any]) -> None:
    from pydantic import SecretStr

    made = adapter(**{**words, "api_key": "old"})
    with pytest.raises(RemoteRefusedError):
        rerank(made)
    made.api_key = SecretStr(SECRET)
    assert rerank(made)


def test_every_setting_but_the_key_survives_a_dump(adapter: Adapter, words: dict[str, Any]) -> None:
    made = adapter(**{**words, "scores": "probability", "timeout": 7.5})
    again = adapter.model_validate(json.loads(json.dumps(made.model_dump(mode="json"))))
    assert {name: getattr(again, name) for name in remote_options(None)} == {
        name: getattr(made, name) for name in remote_options(None)
    }
    assert again.api_key is None
    assert rerank(again.model_copy(update={"api_key": made.api_key})) == rerank(made)


def test_words_that_contradict_each_other_are_refused_when_it_is_made(adapter: Adapter, words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="say who applies the model's prompt template"):
        adapter(remote=words["remote"])
    with pytest.raises(ValidationError, match=r"device=\.\.\. is for a model in this process"):
        adapter(**words, device="cpu")
    with pytest.raises(ValidationError, match=r"template=\.\.\. is about a server"):
        adapter(template="client")


def test_a_ready_reranker_fills_the_fields(adapter: Adapter, words: dict[str, Any]) -> None:
    made = adapter(reranker=Qwen3Reranker(**words, timeout=9.0))
    assert (made.remote, made.template, made.timeout) == (words["remote"], "server", 9.0)
    with pytest.raises(ValidationError, match=r"timeout=3.0 contradicts the reranker's own timeout=9.0"):
        adapter(reranker=Qwen3Reranker(**words, timeout=9.0), timeout=3.0)


def test_the_words_of_facade_and_settings_are_the_same() -> None:
    assert set(remote_options(None)) | {"api_key"} == {"remote", *REMOTE_OPTIONS}


SHOWN: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "its attributes": lambda it: repr(vars(it)),
    "a deep copy": lambda it: repr(vars(copy.deepcopy(it))),
    "a pickle": pickle.dumps,
}


@pytest.mark.parametrize("how", SHOWN)
def test_nothing_shows_the_key(how: str, adapter: Adapter, words: dict[str, Any]) -> None:
    reranker, made = Qwen3Reranker(**words), adapter(**words)
    for it in (reranker, reranker.remote, made, adapter(reranker=reranker), reranker._scorer()):
        if it is reranker._scorer() and how in ("a deep copy", "a pickle"):
            continue  # an engine is a thread and a connection: it is neither copied nor pickled
        shown = SHOWN[how](it)
        assert (SECRET if isinstance(shown, str) else SECRET.encode()) not in shown
    reranker.close()


def test_no_dump_and_no_schema_has_the_key(adapter: Adapter, words: dict[str, Any]) -> None:
    made = adapter(**words)
    shown = [made.model_dump(), made.model_dump_json(), adapter.model_json_schema()]
    shown += [made.to_dict(), made.to_json()] if hasattr(made, "to_dict") else []
    assert SECRET not in repr(shown)
    assert "api_key" not in made.model_dump()


@pytest.mark.parametrize("wrong", [{"device": "cpu"}, {"timeout": -1.0}, {"template": None}, {"nonsense": 1}], ids=str)
def test_a_refused_setting_does_not_show_the_key(
    wrong: dict[str, Any], adapter: Adapter, words: dict[str, Any]
) -> None:
    from tests.test_secrets import report

    for make in (adapter, Qwen3Reranker):
        with pytest.raises((ValidationError, SettingsError, TypeError)) as caught:
            make(**{**words, **wrong})
        assert SECRET not in report(caught.value).replace(repr(words), "")


def test_no_log_shows_the_key(adapter: Adapter, words: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        rerank(adapter(**words))
    shown = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "httpx" in shown, "nothing was logged at all"
    assert SECRET not in shown
