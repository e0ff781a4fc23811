"""What fails for a moment is tried again, what fails for good is an error of ours, and the key is in none of them."""

from __future__ import annotations

import asyncio
import pickle
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qwen3_rerank_plugins.errors import (
    RemoteAnswerError,
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
)
from qwen3_rerank_plugins.remote import RemoteSettings
from qwen3_rerank_plugins.remote.client import HttpClient
from tests.remote.app import Reply, RerankApp, closed_port, hang_up, raw, status
from tests.remote.conftest import Serve

SECRET = "sk-NeverToBeSeenAnywhere"
BODY = {"query": "q", "documents": ["q"]}


def ask(url: str, *, closing: bool = False, **options: Any) -> Any:
    async def once() -> Any:
        event = asyncio.Event()
        if closing:
            event.set()
        settings = RemoteSettings(url=url, template="server", **{"timeout": 5.0, **options})
        client = HttpClient(settings, event)
        try:
            return await client.post(f"{url}/v1/rerank", BODY)
        finally:
            await client.close()

    return asyncio.run(once())


@pytest.mark.parametrize(
    "fault", [status(429), status(500), status(502), status(503), status(504), hang_up], ids=range(6)
)
def test_what_may_pass_is_tried_again(fault: Any, serve: Serve) -> None:
    app = RerankApp()
    app.faults.extend([fault, fault])
    assert ask(serve(app))["results"][0]["index"] == 0
    assert len(app.bodies) == 3


def test_a_server_that_stays_in_trouble_is_asked_so_often_and_then_refused(serve: Serve) -> None:
    app = RerankApp()
    app.always = status(500, b'{"error": "out of memory"}')
    with pytest.raises(RemoteRefusedError, match="answered with status 500, 4 times: .*out of memory") as caught:
        ask(serve(app))
    assert (len(app.bodies), caught.value.status) == (4, 500)


def test_no_retries_is_one_attempt(serve: Serve) -> None:
    app = RerankApp()
    app.always = status(503)
    with pytest.raises(RemoteRefusedError, match="status 503: "):
        ask(serve(app), retries=0)
    assert len(app.bodies) == 1


@pytest.mark.parametrize("code", [400, 404, 405, 413, 422])
def test_a_refusal_is_not_tried_again_and_says_what_the_server_said(code: int, serve: Serve) -> None:
    app = RerankApp()
    app.always = status(code, b'{"message": "maximum context length is 4096 tokens"}')
    with pytest.raises(RemoteRefusedError, match=f"status {code}: .*maximum context length is 4096 tokens") as caught:
        ask(serve(app))
    assert (len(app.bodies), caught.value.status) == (1, code)
    assert ("documents_per_request" in str(caught.value)) == (code == 413)


def test_the_server_is_given_the_time_it_asks_for(serve: Serve) -> None:
    app = RerankApp()
    app.faults.append(status(429, Retry_After="1"))
    begin = time.monotonic()
    ask(serve(app))
    assert time.monotonic() - begin >= 1.0


@pytest.mark.parametrize("asked", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "soon", "0"])
def test_a_time_that_cannot_be_read_is_left_alone(asked: str, serve: Serve) -> None:
    app = RerankApp()
    app.faults.append(status(503, Retry_After=asked))
    begin = time.monotonic()
    ask(serve(app))
    assert time.monotonic() - begin < 1.0


def test_a_server_that_is_too_slow_is_an_error_at_once(serve: Serve) -> None:
    app = RerankApp(delay=5.0)
    begin = time.monotonic()
    with pytest.raises(RemoteUnreachableError, match=r"no complete answer within timeout=0.2 seconds. Raise timeout"):
        ask(serve(app), timeout=0.2)
    assert time.monotonic() - begin < 2.0
    assert len(app.bodies) == 1


def test_where_nobody_listens_is_an_error_with_what_to_check() -> None:
    with pytest.raises(
        RemoteUnreachableError, match="could not be asked, 2 times: ConnectError.*Check that the server"
    ):
        ask(closed_port(), retries=1)
    assert issubclass(RemoteUnreachableError, ConnectionError)


def test_a_connection_that_always_breaks_is_an_error_after_all_attempts(serve: Serve) -> None:
    app = RerankApp()
    app.always = hang_up
    with pytest.raises(RemoteUnreachableError, match="could not be asked, 4 times"):
        ask(serve(app))
    assert len(app.bodies) == 4


@pytest.mark.parametrize("body", [b"<html>a proxy</html>", b"", b'{"results": [', b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_not_json_is_an_error(body: bytes, serve: Serve) -> None:
    app = RerankApp()
    app.always = raw(body)
    with pytest.raises(RemoteAnswerError, match="something else than JSON"):
        ask(serve(app))


def test_a_redirect_is_not_followed_and_says_where_to(serve: Serve) -> None:
    app = RerankApp()
    app.always = lambda _: Reply(307, b"", {"location": "http://elsewhere/rerank"})
    with pytest.raises(RemoteRefusedError, match="moved to http://elsewhere/rerank; pass that as remote=URL"):
        ask(serve(app), api_key=SECRET)


@pytest.mark.parametrize(("key", "said"), [(None, "wants an api_key"), ("other", "wants another api_key")])
def test_a_wrong_key_is_refused_at_once(key: str | None, said: str, serve: Serve) -> None:
    app = RerankApp(key=SECRET)
    with pytest.raises(RemoteRefusedError, match=said) as caught:
        ask(serve(app), api_key=key)
    assert caught.value.status == 401
    assert ask(serve(RerankApp(key=SECRET)), api_key=SECRET)["results"]


def test_once_it_is_closing_nothing_is_tried_again(serve: Serve) -> None:
    app = RerankApp()
    app.always = status(503)
    with pytest.raises(RemoteRefusedError):
        ask(serve(app), closing=True)
    assert len(app.bodies) == 1


FAILURES: dict[str, Callable[[RerankApp], object]] = {
    "refused with the key in the answer": lambda app: setattr(app, "always", status(400, SECRET.encode())),
    "in trouble": lambda app: setattr(app, "always", status(500)),
    "hung up": lambda app: setattr(app, "always", hang_up),
    "not JSON": lambda app: setattr(app, "always", raw(b"x")),
    "too slow": lambda app: setattr(app, "_delay", 5.0),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_shows_the_key_not_even_in_local_variables(failure: str, serve: Serve) -> None:
    app = RerankApp()
    FAILURES[failure](app)
    url = serve(app)
    with pytest.raises(RemoteError) as caught:
        ask(url, api_key=SECRET, timeout=0.5)
    assert SECRET not in report(caught.value)


def test_where_nobody_listens_no_error_shows_the_key_either() -> None:
    with pytest.raises(RemoteError) as caught:
        ask(closed_port(), api_key=SECRET)
    assert SECRET not in report(caught.value)


def report(error: BaseException) -> str:
    """The error with all local variables of its own frames and of whatever is behind it, but for this file's."""
    assert error.__cause__ is None
    assert error.__context__ is None
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in found.stack:
        if frame.filename == __file__:
            frame.locals = None
    return "".join(found.format())


@pytest.mark.parametrize("error", [RemoteUnreachableError("m", again=False), RemoteRefusedError("m", status=429)])
def test_errors_survive_a_pickle(error: Any) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


Get = Callable[[str], Awaitable[Any]]


def get(url: str, **options: Any) -> Any:
    async def once() -> Any:
        client = HttpClient(RemoteSettings(url=url, template="server", **options), asyncio.Event())
        try:
            return await client.get(f"{url}/v1/models")
        finally:
            await client.close()

    return asyncio.run(once())


def test_what_is_not_there_is_none_and_a_closed_door_is_an_error(serve: Serve) -> None:
    assert get(serve(RerankApp("cohere"))) is None
    assert get(serve(RerankApp("vllm")))["data"][0]["owned_by"] == "vllm"
    with pytest.raises(RemoteRefusedError, match="wants an api_key"):
        get(serve(RerankApp("vllm", key=SECRET)))
    with pytest.raises(RemoteUnreachableError):
        get(closed_port(), retries=0)
