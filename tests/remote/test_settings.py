"""What may be said about a server, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote import RemoteSettings

URL = "http://localhost:8000"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "localhost:8000"}, "must be a URL such as"),
        ({"url": "ftp://localhost"}, "must be a URL such as"),
        ({"url": "http://"}, "must be a URL such as"),
        ({"url": "http://host:port"}, "must be a URL such as"),
        ({"url": "http://ho st"}, "must be a URL such as"),
        ({"url": "http://host/\n"}, "must be a URL such as"),
        ({"url": "http://[::1"}, "must be a URL such as"),
        ({"url": 8000}, "must be a URL, got int"),
        ({"url": "http://host/?key=1"}, r"without '\?' and '#'"),
        ({"url": "http://host/#a"}, r"without '\?' and '#'"),
        ({"template": "both"}, "template must be one of 'server', 'client'"),
        ({"template": None}, "template must be one of"),
        ({"protocol": "openai"}, "protocol must be one of 'auto', 'vllm'"),
        ({"scores": "percent"}, "scores must be one of 'auto', 'probability', 'logit'"),
        ({"probe": 1}, "probe must be True or False"),
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"timeout": float("inf")}, "timeout must be a positive number"),
        ({"timeout": True}, "timeout must be a positive number"),
        ({"retries": -1}, "retries must be a positive whole number"),
        ({"requests_at_once": 0}, "requests_at_once must be"),
        ({"documents_per_request": 1.5}, "documents_per_request must be"),
        ({"model": " "}, "model must be a non-empty string"),
        ({"api_key": "key\n"}, "strip its line break"),
        ({"api_key": ""}, "one run of visible ASCII"),
        ({"api_key": 3}, "one run of visible ASCII"),
    ],
    ids=lambda found: str(found)[:40],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RemoteSettings(**{"url": URL, "template": "server", **wrong})


def test_a_password_in_the_url_is_refused_and_not_quoted() -> None:
    with pytest.raises(SettingsError, match=r"Pass api_key") as caught:
        RemoteSettings(url="http://user:sesame@localhost:8000", template="server")
    assert "sesame" not in str(caught.value)


def test_spellings_of_one_address_are_one_identity_and_another_key_is_another() -> None:
    settings = RemoteSettings(url="HTTP://LocalHost:8000/V1/", template="server", api_key="a")
    assert settings.cache_key == RemoteSettings(url="http://localhost:8000/V1", template="server", api_key="a")
    assert settings.cache_key != RemoteSettings(url="http://localhost:8000/V1", template="server", api_key="b")
    assert hash(settings.cache_key) == hash(settings.cache_key)


def test_a_pickle_has_no_key() -> None:
    settings = RemoteSettings(url=URL, template="server", api_key="sesame")
    assert b"sesame" not in pickle.dumps(settings)
    assert pickle.loads(pickle.dumps(settings)).api_key is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remote": URL}, "say who applies the model's prompt template: template='server'"),
        ({"template": "server"}, r"template=\.\.\. is about a server, and there is none: pass remote=URL"),
        ({"api_key": "k", "scores": "logit"}, r"scores=\.\.\., api_key=\.\.\. is about a server"),
        ({"remote": URL, "template": "server", "device": "cuda:0"}, r"device=\.\.\. is for a model in this process"),
        (
            {"remote": URL, "template": "server", "token": "hf", "dtype": "float16"},
            r"dtype=\.\.\., token=\.\.\. is for",
        ),
        ({"remote": URL, "template": "server", "max_length": 512}, "max_length=512 counts tokens"),
        ({"remote": URL, "template": "server", "long_documents": "windows"}, "needs the model's tokenizer"),
        ({"remote": URL, "template": "server", "on_nonfinite": "float32"}, "needs the model's weights"),
        ({"remote": URL, "template": "server", "scorer": object()}, "are two engines"),
    ],
    ids=lambda found: str(found)[:60],
)
def test_words_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Qwen3Reranker("some/model", **options)


def test_making_one_asks_nobody_and_its_repr_says_where_it_will_ask() -> None:
    with Qwen3Reranker("m", remote="http://192.0.2.1:1", template="client") as reranker:
        assert repr(reranker) == "Qwen3Reranker('m', remote='http://192.0.2.1:1')"
        assert reranker.rank("q", []) == []
        assert reranker.rank("q", [" "])[0].score == 0.0
