"""An address that ends in a path: the path names the protocol, and no protocol's request goes to another's path."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RemoteRefusedError, SettingsError
from qwen3_rerank_plugins.remote import RemoteSettings
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS
from qwen3_rerank_plugins.remote.settings import ProtocolName
from tests.remote.app import Reply, RerankApp
from tests.remote.conftest import Serve
from tests.remote.wire import always, listening

RERANKING = ("rerank", "v1/rerank", "v2/rerank", "v1/reranking", "reranking", "v1/reranks", "compatible-api/v1/reranks")


class Quiet(RerankApp):
    """A server with one endpoint, which says nothing of itself, in one of several ways."""

    def __init__(self, dialect: str, path: str, otherwise: Reply) -> None:
        super().__init__(dialect)
        self._path, self._otherwise = path, otherwise

    def _about(self, path: str) -> Reply:
        return self._otherwise

    async def _answer(self, path: str, body: Any, receive: Any) -> Reply | None:
        if path != f"/{self._path}":
            return Reply(400, b"wrong path")
        return await super()._answer(path, body, receive)


SILENCE: dict[str, Reply] = {
    "404": Reply(404, b"not here"),
    "405": Reply(405, b"not so"),
    "403": Reply(403, b"not you"),
    "501": Reply(501, b"not this"),
    "a page": Reply(200, b"<html>welcome</html>"),
    "other JSON": Reply(200, b'{"results": []}'),
    "a redirect": Reply(302, b"", {"location": "/login"}),
}


def rank(url: str, **options: Any) -> int:
    words = {"template": "server", "probe": False, "timeout": 30.0, **options}
    with Qwen3Reranker("m", remote=url, **words) as reranker:
        return reranker.rank("a b", ["c", "a b"])[0].index


@pytest.mark.parametrize("silence", SILENCE)
@pytest.mark.parametrize("path", ["v1/rerank", "rerank", "v1/reranks"])
def test_a_path_says_what_a_server_does_not(path: str, silence: str, serve: Serve) -> None:
    app = Quiet("cohere", path, SILENCE[silence])
    assert rank(f"{serve(app)}/{path}") == 1
    assert set(app.bodies[0]) == {"model", "query", "documents", "top_n"}


@pytest.mark.parametrize("end", ["", "/", "//"])
@pytest.mark.parametrize("before", ["", "proxy/x/"])
@pytest.mark.parametrize("path", RERANKING)
def test_every_path_that_reranks_gets_documents(path: str, before: str, end: str, serve: Serve) -> None:
    app = Quiet("cohere", before + path, SILENCE["404"])
    assert rank(f"{serve(app)}/{before}{path}{end}") == 1


@pytest.mark.parametrize("path", ["score", "v1/score", "proxy/x/v1/score"])
def test_every_path_that_scores_gets_pairs_of_texts(path: str, serve: Serve) -> None:
    app = Quiet("vllm", path, SILENCE["404"])
    assert rank(f"{serve(app)}/{path}/") == 1


@pytest.mark.parametrize(("base", "path"), [("v2", "v2/rerank"), ("v1", "v1/rerank"), ("x/v2/", "x/v2/rerank")])
def test_a_version_is_the_start_of_a_path(base: str, path: str, serve: Serve) -> None:
    app = Quiet("cohere", path, SILENCE["404"])
    assert rank(f"{serve(app)}/{base}") == 1


def test_without_a_path_a_silent_server_has_to_be_named(serve: Serve) -> None:
    with pytest.raises(SettingsError, match="does not say what it is"):
        rank(serve(Quiet("cohere", "v1/rerank", SILENCE["404"])))


@pytest.mark.parametrize(
    ("dialect", "path", "spoken"),
    [
        ("vllm", "v1/rerank", "vllm-rerank"),
        ("vllm", "rerank", "vllm-rerank"),
        ("vllm", "v2/rerank", "vllm-rerank"),
        ("vllm", "v2", "vllm-rerank"),
        ("vllm", "score", "vllm"),
        ("vllm", "v1", "vllm"),
        ("sglang", "v1/rerank", "sglang"),
        ("sglang", "v1", "sglang"),
        ("infinity", "rerank", "infinity"),
        ("tei", "rerank", "tei"),
    ],
)
def test_a_server_that_says_what_it_is_gets_its_own_protocol_at_its_path(
    dialect: str, path: str, spoken: str, serve: Serve
) -> None:
    class Talking(RerankApp):
        """It answers in the dialect in which it is asked."""

        async def _answer(self, path: str, body: Any, receive: Any) -> Reply | None:
            self.dialect = "vllm-rerank" if dialect == "vllm" and "rerank" in path else dialect
            return await super()._answer(path, body, receive)

    app = Talking(dialect)
    assert rank(f"{serve(app)}/{path}") == 1
    expected = PROTOCOLS[spoken]
    assert {expected.query, expected.documents} <= set(app.bodies[0])
    if expected.logits:
        assert expected.logits.items() <= app.bodies[0].items()


@pytest.mark.parametrize("path", ["v1/rerank", "rerank", "v2/rerank", "v1/reranking", "v1/reranks", "v2"])
def test_pairs_of_texts_are_refused_at_a_path_that_reranks(path: str) -> None:
    with pytest.raises(SettingsError, match=r"'vllm' does not fit the path .*Pass protocol='auto' or 'cohere'"):
        RemoteSettings(url=f"http://h/x/{path}/", template="server", protocol="vllm")


@pytest.mark.parametrize("protocol", sorted({*get_args(ProtocolName)} - {"auto", "vllm"}))
def test_documents_are_refused_at_a_path_that_scores(protocol: Any) -> None:
    with pytest.raises(SettingsError, match=r"does not fit the path '/v1/score' .*Pass protocol='auto' or 'vllm'"):
        RemoteSettings(url="http://h/x/v1/score", template="server", protocol=protocol)


@pytest.mark.parametrize("protocol", sorted({*get_args(ProtocolName)} - {"auto", "vllm"}))
def test_among_protocols_that_rerank_the_word_of_the_user_goes_before_the_path(protocol: Any, serve: Serve) -> None:
    app = Quiet(protocol, "gateway/v1/rerank", SILENCE["404"])
    assert rank(f"{serve(app)}/gateway/v1/rerank", protocol=protocol) == 1


@pytest.mark.parametrize("code", [401, 403])
def test_without_a_path_a_server_that_wants_a_key_is_no_silent_one(code: int, serve: Serve) -> None:
    with pytest.raises(RemoteRefusedError, match="wants an api_key"):
        rank(serve(Quiet("cohere", "v1/rerank", Reply(code, b"no"))))


def test_a_server_that_answers_everything_alike_is_asked_by_its_path() -> None:
    body = b'{"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}'
    with listening(always(body=body)) as url:
        assert rank(f"{url}/rerank") == 1
