"""The key and the passwords of proxies: whatever the server says, no error, log, or local variable shows them."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RemoteAnswerError, RemoteError, RemoteRefusedError, SettingsError
from qwen3_rerank_plugins.langchain import Qwen3Rerank as LangChainRerank
from qwen3_rerank_plugins.llama_index import Qwen3Rerank as LlamaIndexRerank
from qwen3_rerank_plugins.remote import RemoteScorer
from qwen3_rerank_plugins.remote.redaction import Redaction
from tests.remote.wire import Handle, always, listening
from tests.test_secrets import everything_logged

KEY = 'sk-Never/To+Be&Seen"Any\\where=='


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "as a header": "Bearer {}".format,
    "in small letters": str.lower,
    "in capitals": str.upper,
    "percent-encoded": lambda key: quote(key, safe=""),
    "percent-encoded twice": lambda key: quote(quote(key, safe=""), safe=""),
    "percent-encoded in small letters": lambda key: quote(key, safe="").lower(),
    "escaped as JSON": lambda key: json.dumps(key)[1:-1],
    "escaped as JSON twice": lambda key: json.dumps(json.dumps(key))[1:-1],
    "in numbers of Unicode": lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
    "escaped as HTML": html.escape,
    "in entities": lambda key: "".join(f"&#{ord(character)};" for character in key),
    "in Base64": in_base64,
    "in Base64 behind a name": lambda key: in_base64(f"user:{key}"),
    "in Base64 behind a scheme": lambda key: in_base64(f"Bearer {key}"),
    "in the other Base64": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "in hexadecimal": lambda key: key.encode().hex(),
    "over several lines": "\n".join,
    "colored": lambda key: f"{key[:7]}\x1b[31m{key[7:]}\x1b[0m",
    "around the end of what is shown": lambda key: "x" * 290 + key,
    "cut by the server": lambda key: key[:-5],
}


def shown(spelled: str) -> set[str]:
    """What would give the key away: it, or half of it, in the spelling."""
    flat = "".join(spelled.split()).removeprefix("x" * 290).removeprefix("Bearer")
    return {KEY, KEY[:15], KEY[-15:], flat, flat[len(flat) // 2 :]}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_key_is_hidden_in_every_spelling(spelling: str) -> None:
    spelled = SPELLINGS[spelling](KEY)
    for said in (f"wrong: {spelled}!", {"wrong": [spelled]}, {spelled: 1}):
        found = Redaction([KEY]).quote(said)
        assert not any(secret in found for secret in shown(spelled)), found


@pytest.mark.parametrize("key", ["k", "EMPTY", "test"])
def test_a_short_key_is_hidden_and_leaves_words_alone(key: str) -> None:
    found = Redaction([key]).quote(f'the key "{key}" of the {key}ing keeper is bad')
    assert found == f'the key "***" of the {key}ing keeper is bad'


def test_what_is_no_secret_is_quoted_as_it_is() -> None:
    said = "maximum context length is 4096 tokens, größer als 中文"
    assert Redaction([KEY]).quote(said) == said
    assert Redaction([]).quote({"message": said}) == f'{{"message": "{said}"}}'


def report(error: BaseException) -> str:
    """The error as reporters print it, with all local variables and whatever is behind it, but for this file's."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in found.stack:
        if frame.filename == __file__:
            frame.locals = None
    assert error.__cause__ is None
    assert error.__context__ is None
    return "".join(found.format()) + repr(error) + repr(vars(error))


BODY = json.dumps({"error": KEY}).encode()
ESCAPED = ('{"detail": "' + "".join(f"\\u{ord(character):04x}" for character in KEY) + '"}').encode()
HEADER = KEY.encode()
REPEATING: dict[str, Handle] = {
    "an object of another shape": always(body=BODY),
    "a list": always(body=json.dumps([KEY]).encode()),
    "a text": always(body=json.dumps(KEY).encode()),
    "no JSON": always(body=f"<html>{KEY}</html>".encode()),
    "the score": always(body=json.dumps({"results": [{"index": 0, "relevance_score": KEY}]}).encode()),
    "the index": always(body=json.dumps({"results": [{"index": KEY, "relevance_score": 0.5}]}).encode()),
    "a field's name": always(body=json.dumps({"results": [{"index": 0, KEY: 0.5}]}).encode()),
    "a probability beyond 1": always(
        body=json.dumps({"results": [{"index": 0, "relevance_score": 2, "k": KEY}]}).encode()
    ),
    "too many results": always(
        body=json.dumps({"results": [{"index": 0, "relevance_score": 0.5, "document": KEY}] * 2}).encode()
    ),
    "one name twice": always(body=f'{{"a": 1, "a": {json.dumps(KEY)}}}'.encode()),
    "an error page": always(status=b"400 Bad", body=BODY),
    "an error page in numbers of Unicode": always(status=b"422 Bad", body=ESCAPED),
    "an error page in UTF-16": always(status=b"400 Bad", body=KEY.encode("utf-16")),
    "trouble": always(status=b"500 Trouble", body=BODY),
    "a wrong key": always(status=b"401 No", body=BODY),
    "too much": always(status=b"413 Much", body=BODY),
    "a redirect": always(b"Location: http://elsewhere/rerank?key=" + quote(KEY).encode(), status=b"307 Go", body=b""),
    "a redirect to its path": always(b"Location: http://elsewhere/" + HEADER, status=b"307 Go", body=b""),
    "a redirect to a name": always(
        b"Location: http://user:" + quote(KEY).encode() + b"@e/", status=b"302 Go", body=b""
    ),
    "the reason": always(status=b"400 " + HEADER, body=b"no"),
    "a header": always(b"X-Key: " + HEADER, status=b"400 No", body=b"no"),
    "an encoding": always(b"Content-Encoding: " + HEADER),
    "a charset": always(b"Content-Type: text/html; charset=" + HEADER, status=b"400 No", body=b"no"),
    "a broken status line": lambda connection, _: (
        (connection.recv(65536) and connection.sendall(b"HTTP/1.1 " + HEADER + b"\r\n\r\n")) or None
    ),
    "a broken header": always(HEADER + b"\x00"),
}


def wrong(found: str) -> list[str]:
    return [secret for secret in (KEY, quote(KEY), json.dumps(KEY)[1:-1], KEY[:14], KEY[-14:]) if secret in found]


@pytest.mark.parametrize("how", ["rank", "arank", "scorer"])
@pytest.mark.parametrize("shape", REPEATING)
def test_a_server_that_repeats_the_key_is_quoted_without_it(shape: str, how: str) -> None:
    with listening(REPEATING[shape]) as url, everything_logged() as logged:
        words: dict[str, Any] = {"template": "server", "protocol": "cohere", "probe": False, "timeout": 30.0}
        reranker = Qwen3Reranker("m", remote=f"{url}/v1/rerank", **words, api_key=KEY)
        with reranker, pytest.raises(RemoteError) as caught:
            if how == "rank":
                reranker.rank("q", ["d"])
            elif how == "arank":
                asyncio.run(reranker.arank("q", ["d"]))
            else:
                assert reranker.remote
                scorer = RemoteScorer(reranker.remote)
                try:
                    scorer.warmup()
                finally:
                    scorer.close()
    assert wrong(report(caught.value)) == []
    assert wrong("".join(logged)) == []


@pytest.mark.parametrize("shape", ["the reason", "a header"])
def test_a_good_answer_that_repeats_the_key_is_logged_without_it(shape: str) -> None:
    server = always(status=b"200 " + HEADER) if shape == "the reason" else always(b"X-Key: " + HEADER)
    with listening(server) as url, everything_logged() as logged:
        with Qwen3Reranker("m", remote=f"{url}/v1/rerank", template="server", probe=False, api_key=KEY) as reranker:
            assert reranker.rank("q", ["d"])[0].score == 0.5
        logging.getLogger("httpx").info("HTTP Request: of another client")
    assert "HTTP Request: POST" in "".join(logged)
    assert "httpcore.http11" in "".join(logged)
    assert wrong("".join(logged)) == []
    assert not logging.getLogger("httpx").filters, "a closed connection leaves the loggers alone"


def test_while_asking_what_a_server_is_nothing_shows_the_key_either() -> None:
    with listening(always(status=b"403 No", body=BODY)) as url, everything_logged() as logged:
        reranker = Qwen3Reranker("m", remote=url, template="server", api_key=KEY)
        with reranker, pytest.raises(RemoteRefusedError, match="wants another api_key") as caught:
            reranker.rank("q", ["d"])
    assert wrong(report(caught.value)) + wrong("".join(logged)) == []


PASSWORD = "pass:Never@Seen"


@pytest.mark.parametrize(
    "server",
    [
        always(status=b"407 Proxy Authentication Required", body=PASSWORD.encode()),
        always(status=b"502 " + PASSWORD.encode(), body=quote(PASSWORD, safe="").encode()),
        always(body=json.dumps({"authorization": f"Basic {in_base64(f'me:{PASSWORD}')}"}).encode()),
        always(status=b"400 No", body=in_base64(f"me:{PASSWORD}").encode()),
    ],
    ids=["as it is", "percent-encoded", "in an answer in Base64", "in an error page in Base64"],
)
def test_a_proxy_that_repeats_its_password_is_quoted_without_it(
    server: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(server) as url, everything_logged() as logged:
        monkeypatch.setenv("HTTP_PROXY", url.replace("http://", f"http://me:{quote(PASSWORD, safe='')}@"))
        words: dict[str, Any] = {"template": "server", "protocol": "cohere", "probe": False}
        reranker = Qwen3Reranker("m", remote="http://far.example", **words)
        with reranker, pytest.raises((RemoteRefusedError, RemoteAnswerError)) as caught:
            reranker.rank("q", ["d"])
    found = report(caught.value) + "".join(logged)
    for secret in (PASSWORD, quote(PASSWORD, safe=""), in_base64(f"me:{PASSWORD}"), in_base64(f"me:{PASSWORD}")[8:]):
        assert secret not in found


@pytest.mark.parametrize(
    "url", ["http://me:sesame@far.example/v1", "http://far.example/v1?key=sesame", "http://h/#sesame"]
)
@pytest.mark.parametrize("more", [{}, {"device": "cpu"}], ids=["alone", "beside another mistake"])
@pytest.mark.parametrize("make", [Qwen3Reranker, LangChainRerank, LlamaIndexRerank])
def test_a_secret_in_the_address_is_refused_unseen(make: Any, more: dict[str, Any], url: str) -> None:
    with pytest.raises(ValueError) as caught:
        make(model="m", remote=url, template="server", **more)
    assert isinstance(caught.value, SettingsError) or "validation error" in str(caught.value)
    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    for frame in found.stack:
        if frame.filename == __file__:
            frame.locals = None
    assert "sesame" not in "".join(found.format())
