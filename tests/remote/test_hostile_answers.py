"""A server may send anything. What comes out is scores or an error of ours, of one line, after little memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.errors import NonFiniteScoreError, RemoteAnswerError, RemoteError, RemoteRefusedError
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.response_body import text_of
from tests.remote.conftest import Connect
from tests.remote.wire import HEAD, SCORES, Handle, always, listening, pouring
from tests.test_secrets import everything_logged


def ask(server: Handle, connect: Connect, **options: Any) -> tuple[float, ...]:
    with listening(server) as url:
        scorer = connect(url, **options)
        try:
            return scorer.submit(make_request("q", ["d"], None)).result(60).log_odds
        finally:
            scorer.close()


def scored(score: str, extra: str = "") -> bytes:
    return f'{{"results": [{{"index": 0, {extra}"relevance_score": {score}}}]}}'.encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (scored("1" + "0" * 400), "a score beyond the range of floating-point numbers"),
        (scored("-1" + "0" * 400), "a score beyond the range of floating-point numbers"),
        (scored("1" + "0" * 10_000), "something else than JSON"),
        (scored("[" * 900 + "]" * 900), "whose score is no number"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"results":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (scored("0.5", '"index": 0, '), "an object has one name twice"),
        (scored('"0.5"'), "whose score is no number"),
        (b'{"results": [{"index": 0, "score": 0.5}]}', "without the field 'relevance_score', which has the score"),
        (b"\xff\xfe\x00\x80abc", "something else than JSON"),
        (b"\xef\xbb\xbf<html>", "something else than JSON"),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("scores", ["auto", "logit"])
def test_strange_json_is_an_error_that_names_what_is_strange(
    body: bytes, message: str, scores: str, connect: Connect
) -> None:
    with pytest.raises(RemoteAnswerError, match=message):
        ask(always(body=body), connect, scores=scores)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "null", "1e999"])
def test_a_score_that_is_no_finite_number_is_an_error(literal: str, connect: Connect) -> None:
    with pytest.raises(NonFiniteScoreError, match="no finite score for 1 of 1 documents"):
        ask(always(body=scored(literal)), connect, scores="logit")


def test_json_in_utf_16_is_read(connect: Connect) -> None:
    assert ask(always(body=SCORES.decode().encode("utf-16")), connect) == (0.0,)


PAGE = "Überlastet \\q 过载"
CHARSETS = [
    *("utf-16", "utf-32", "x-unknown", "base64", "hex", "rot13", "undefined", "idna", "punycode", "unicode_escape"),
    *("raw_unicode_escape", "zlib", "\N{SNOWMAN}", "utf-8;utf-16", '"', ""),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("charset", CHARSETS)
def test_a_page_in_any_charset_is_text(charset: str, encoding: str) -> None:
    found = text_of(PAGE.encode(encoding), charset)
    assert "berlastet" in found or (encoding == "utf-8" and charset.startswith("utf"))


@pytest.mark.parametrize("status", [b"400 Bad", b"200 OK"])
@pytest.mark.parametrize("charset", ["utf-16", "x-unknown", "base64", "undefined", "unicode_escape", "\N{SNOWMAN}"])
def test_a_page_in_any_charset_is_quoted(charset: str, status: bytes, connect: Connect) -> None:
    header = f"Content-Type: text/html; charset={charset}".encode()
    with pytest.raises(RemoteError, match="berlastet"):
        ask(always(header, status=status, body=PAGE.encode("utf-16")), connect)


@pytest.mark.parametrize(("charset", "text"), [("gbk", "过载"), ("iso-8859-1", "Überlastet"), ("shift_jis", "過負荷")])
def test_a_page_in_the_charset_that_it_names_is_read(charset: str, text: str, connect: Connect) -> None:
    header = f"Content-Type: text/html; charset={charset}".encode()
    with pytest.raises(RemoteRefusedError, match=text):
        ask(always(header, status=b"400 Bad", body=text.encode(charset)), connect)


FORGED = "\x1b[31mred\x1b[0m\r\nERROR forged\x00 \x1b]0;title\x07 \u202eabc\u2028 \x9b1m \x08\x7f \u200bz\ud800"


def test_no_control_character_of_a_server_is_quoted() -> None:
    for said in (FORGED, {"error": FORGED}, [FORGED], {FORGED: 1}):
        found = Redaction([]).quote(said)
        assert found.isprintable()
        assert "red" in found
        assert "title" not in found


@pytest.mark.parametrize(
    "server",
    [
        always(status=b"400 Bad", body=FORGED.encode("utf-8", "surrogatepass")),
        always(body=FORGED.encode("utf-8", "surrogatepass")),
        always(body=json.dumps({"error": FORGED}).encode()),
        always(body=json.dumps({"results": [{"index": 0, "relevance_score": FORGED}]}).encode()),
        always(status=b"400 \x1b[31mBad", body=b"no"),
        always(b"X-A: \x1b[31m", status=b"400 Bad", body=b"no"),
        always(b"Location: http://h/\x1b[31m\xe2\x80\xae", status=b"307 Go", body=b""),
        always(b"Content-Encoding: \x1b[31m"),
    ],
    ids=range(8),
)
def test_no_control_character_of_a_server_reaches_an_error_or_the_log(server: Handle, connect: Connect) -> None:
    with everything_logged() as logged, pytest.raises(RemoteError) as caught:
        ask(server, connect)
    assert str(caught.value).isprintable()
    said = [line for line in logged if line.startswith(("HTTP Request", "receive_response"))]
    assert len(said) >= 2
    assert all(line.isprintable() for line in said)


ZEROS = gzip.compress(b" " * 200_000_000, 6)
"""0.2 MB, of which 191 MiB come out."""


@pytest.mark.parametrize(
    ("server", "error", "message"),
    [
        (always(b"Content-Encoding: gzip", body=ZEROS), RemoteAnswerError, r"more than 16,777,\d\d\d bytes, the limit"),
        (always(b"Content-Encoding: gzip", status=b"400 Bad", body=ZEROS), RemoteRefusedError, "status 400"),
        (always(b"Content-Encoding: gzip, gzip", body=gzip.compress(ZEROS)), RemoteAnswerError, "'gzip, gzip'"),
        (pouring(HEAD + b"\r\n", b" " * 65536), RemoteAnswerError, r"more than 16,777,\d\d\d bytes, the limit"),
        (always(b"Content-Encoding: br", body=b"x"), RemoteAnswerError, "compressed as 'br', which was not asked for"),
        (always(b"Content-Encoding: zstd", body=b"x"), RemoteAnswerError, "compressed as 'zstd'"),
        (always(b"Content-Encoding: br", status=b"400 Bad", body=b"x"), RemoteRefusedError, "compressed as 'br'"),
        (always(b"Content-Encoding: gzip", body=SCORES), RemoteAnswerError, "something that is not gzip"),
        (
            always(b"Content-Encoding: gzip", body=gzip.compress(SCORES, mtime=0)[:-20]),
            RemoteAnswerError,
            "else than JSON",
        ),
    ],
    ids=["a bomb", "a bomb of an error", "twice", "no end", "brotli", "zstd", "brotli error", "no gzip", "half of it"],
)
def test_an_answer_takes_little_memory_however_it_is_compressed(
    server: Handle, error: type[Exception], message: str, connect: Connect
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message):
            ask(server, connect, timeout=60.0)
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzip.compress(SCORES, mtime=0)),
        (b"X-GZIP", gzip.compress(SCORES, mtime=0)),
        (b"deflate", zlib.compress(SCORES)),
        (b"identity", SCORES),
    ],
    ids=str,
)
def test_an_answer_that_was_compressed_without_being_asked_for_is_read(
    encoding: bytes, body: bytes, connect: Connect
) -> None:
    assert ask(always(b"Content-Encoding: " + encoding, body=body), connect) == (0.0,)


def test_a_large_answer_that_sends_the_texts_back_is_read(connect: Connect) -> None:
    """The limit grows with the request."""
    text = "\N{SNOWMAN}" * 3_000_000
    body = json.dumps({"results": [{"index": 0, "relevance_score": 0.5, "document": text}]}).encode()
    assert len(body) > 16 * 2**20
    with listening(always(body=body)) as url:
        scorer = connect(url, timeout=60.0)
        assert scorer.submit(make_request("q", [text], None)).result(60).log_odds == (0.0,)
