"""`timeout` bounds a whole request, whatever the server does; closing and exiting wait for nothing longer."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import ClosedError, RemoteRefusedError, RemoteUnreachableError, RerankTimeoutError
from qwen3_rerank_plugins.remote import RemoteScorer
from qwen3_rerank_plugins.remote.client import HttpClient
from tests.remote.app import RerankApp, status
from tests.remote.conftest import Connect
from tests.remote.wire import ENDLESS, HEAD, always, answer, half_closed, listening, pouring, silent

GUARD = 30.0
"""Seconds after which a test fails instead of hanging."""


def submit(scorer: RemoteScorer, *documents: str) -> Future[Scores]:
    return scorer.submit(make_request("q", documents or ("d",), None))


def until(happened: Callable[[], Any]) -> None:
    end = time.monotonic() + GUARD
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("server", ENDLESS)
def test_whatever_never_ends_is_an_error_when_the_time_is_up(server: str, connect: Connect) -> None:
    with listening(ENDLESS[server]) as url:
        scorer = connect(url, timeout=0.5)
        with pytest.raises(RemoteUnreachableError, match=r"no complete answer within timeout=0.5 seconds"):
            submit(scorer).result(GUARD)
        scorer.close()


@pytest.mark.parametrize("server", ["a body that drips", "headers that drip", "an error page that drips"])
def test_ranking_asynchronously_ends_as_well(server: str) -> None:
    with listening(ENDLESS[server]) as url:
        reranker = Qwen3Reranker("m", remote=f"{url}/v1/rerank", template="server", probe=False, timeout=0.5)

        async def rank() -> None:
            async with asyncio.timeout(GUARD):
                await reranker.arank("q", ["d"])

        with reranker, pytest.raises(RerankTimeoutError, match=r"within its timeout of 0.5 seconds"):
            asyncio.run(rank())


def test_an_answer_that_had_begun_is_told_with_its_status(connect: Connect) -> None:
    with (
        listening(ENDLESS["an error page that drips"]) as url,
        pytest.raises(RemoteUnreachableError, match="It had begun, with status 503"),
    ):
        submit(connect(url, timeout=0.5)).result(GUARD)


def test_waiting_for_ones_turn_is_no_part_of_the_time(connect: Connect) -> None:
    """Eight requests of 0.3 seconds, one after the other, in a second each."""
    app = RerankApp(delay=0.3)
    scorer = connect(app, timeout=1.0, requests_at_once=1, documents_per_request=1)
    assert len(submit(scorer, *map(str, range(8))).result(GUARD).log_odds) == 8


@pytest.mark.parametrize(
    ("server", "error", "message"),
    [
        (half_closed, RemoteUnreachableError, "could not be asked, 2 times"),
        (pouring(HEAD, b"X-More: 1\r\n" * 1000), RemoteUnreachableError, "could not be asked, 2 times"),
        (pouring(b"HTTP/1.1 400 No\r\n\r\n", b"x" * 65536), RemoteRefusedError, "status 400: xxx"),
    ],
    ids=["half closed", "headers without end", "an error page without end"],
)
def test_what_cannot_become_an_answer_is_not_waited_for(
    server: Any, error: type[Exception], message: str, connect: Connect
) -> None:
    with listening(server) as url, pytest.raises(error, match=message):
        submit(connect(url, timeout=GUARD, retries=1)).result(GUARD)


def test_closing_waits_no_longer_than_the_time_of_a_request(connect: Connect) -> None:
    """One request is under way, and four wait for their turn: each would take the whole time."""
    asked = threading.Event()

    def server(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        silent(connection, over)

    with listening(server) as url:
        scorer = connect(url, timeout=1.0, requests_at_once=1)
        futures = [submit(scorer) for _ in range(5)]
        assert asked.wait(GUARD)
        begin = time.monotonic()
        scorer.close()
        assert time.monotonic() - begin < 4.0, "it waited for more than one of five"
    errors = [future.exception(0) for future in futures]
    assert {type(error) for error in errors} <= {RemoteUnreachableError, ClosedError}
    assert any(isinstance(error, ClosedError) for error in errors)


@pytest.fixture
def pausing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a client waits for its next attempt."""
    waits = threading.Event()
    pause = HttpClient._pause

    async def told(self: HttpClient, seconds: float) -> None:
        waits.set()
        await pause(self, seconds)

    monkeypatch.setattr(HttpClient, "_pause", told)
    return waits


@pytest.mark.parametrize("probe", [False, True], ids=["a request", "the first connection"])
def test_closing_does_not_wait_until_the_server_may_be_asked_again(
    probe: bool, connect: Connect, pausing: threading.Event
) -> None:
    app = RerankApp()
    app.always = status(429, Retry_After="30")
    scorer = connect(app, probe=probe)
    future = submit(scorer)
    assert pausing.wait(GUARD)
    begin = time.monotonic()
    scorer.close()
    assert time.monotonic() - begin < 15.0
    with pytest.raises(ClosedError, match="closed before the server could be asked again"):
        future.result(0)
    assert len(app.bodies) == 1


def test_cancelling_does_not_wait_until_the_server_may_be_asked_again(
    connect: Connect, pausing: threading.Event
) -> None:
    app = RerankApp()
    app.always = status(429, Retry_After="30")
    reranker = Qwen3Reranker("m", scorer=connect(app))

    async def change_ones_mind() -> None:
        task = asyncio.create_task(reranker.arank("q", ["d"]))
        await asyncio.to_thread(pausing.wait, GUARD)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(change_ones_mind())
    assert len(app.bodies) == 1


@pytest.mark.parametrize("probe", [False, True], ids=["a request", "the first connection"])
def test_cancelling_the_only_caller_hangs_up(probe: bool, connect: Connect) -> None:
    app = RerankApp(delay=GUARD)
    reranker = Qwen3Reranker("m", scorer=connect(app, probe=probe, timeout=GUARD))

    async def change_ones_mind() -> None:
        task = asyncio.create_task(reranker.arank("q", ["d"]))
        await asyncio.to_thread(until, lambda: app.bodies)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(change_ones_mind())
    until(lambda: app.hung_up == 1)


EXIT = """
import sys, threading
from qwen3_rerank_plugins import Qwen3Reranker
reranker = Qwen3Reranker("m", remote=sys.argv[1], template="server", protocol="cohere", probe=False, timeout=1.0)
def rank():
    try:
        reranker.rank("q", ["d"])
    except Exception:
        pass
threading.Thread(target=rank, daemon=True).start()
sys.stdin.readline()
"""


def test_the_interpreter_ends_while_a_server_drips() -> None:
    asked = threading.Event()

    def server(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        ENDLESS["a body that drips"](connection, over)

    with listening(server) as url:
        program = subprocess.Popen([sys.executable, "-c", EXIT, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert asked.wait(60)
        _, said = program.communicate(b"\n", timeout=GUARD)
    assert (said, program.returncode) == (b"", 0)


LOOKUP = """
import socket, sys, time
def lookup(*_, **__):
    time.sleep(600)
socket.getaddrinfo = lookup  # a name server that does not answer
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RerankTimeoutError
reranker = Qwen3Reranker("m", remote="http://far.example/v1/rerank", template="server", probe=False, timeout=0.5)
try:
    reranker.rank("q", ["d"])
except RerankTimeoutError as error:
    print(error)
"""


def test_the_interpreter_ends_while_a_name_is_looked_up() -> None:
    done = subprocess.run([sys.executable, "-c", LOOKUP], capture_output=True, text=True, check=False, timeout=60)
    assert "not finished within its timeout of 0.5 seconds" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_method_that_the_server_does_not_know_is_not_tried_again(connect: Connect) -> None:
    asked: list[int] = []

    def server(connection: socket.socket, _: threading.Event) -> None:
        asked.append(1)
        answer(connection, status=b"501 Not Implemented", body=b"no")

    with listening(server) as url, pytest.raises(RemoteRefusedError, match="status 501: no"):
        submit(connect(url)).result(GUARD)
    assert len(asked) == 1


def test_an_ordinary_answer_of_the_same_server_is_read(connect: Connect) -> None:
    """Or the tests above would prove nothing."""
    with listening(always()) as url:
        assert submit(connect(url)).result(GUARD).log_odds == (0.0,)
