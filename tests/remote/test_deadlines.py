"""The timeout of a call bounds all its requests to a server together, and nothing else bounds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, SettingsError, Stats
from qwen3_rerank_plugins.errors import RemoteUnreachableError, RerankTimeoutError
from tests.remote.app import RerankApp, status
from tests.remote.conftest import Connect, Serve
from tests.remote.wire import ENDLESS, listening

WORDS: dict[str, Any] = {"template": "server", "protocol": "cohere", "probe": False}


@pytest.fixture
def slow(connect: Connect) -> Iterator[Qwen3Reranker]:
    """Four requests of 0.3 seconds, one after the other, each of which may take 0.2 seconds by itself."""
    scorer = connect(RerankApp(delay=0.3), timeout=0.2, requests_at_once=1, documents_per_request=1, retries=0)
    with Qwen3Reranker(scorer=scorer) as reranker:
        yield reranker


def test_a_call_with_a_timeout_may_take_that_long_for_each_of_its_requests(slow: Qwen3Reranker) -> None:
    with pytest.raises(RemoteUnreachableError, match=r"within timeout=0.2 seconds"):
        slow.rank("q", ["d"])
    assert len(slow.rank("q", ["d", "e"], timeout=30)) == 2


def test_the_timeout_is_for_all_requests_of_a_call_together(connect: Connect) -> None:
    app = RerankApp(delay=0.3)
    scorer = connect(app, timeout=30.0, requests_at_once=1, documents_per_request=1)
    with Qwen3Reranker(scorer=scorer) as reranker, pytest.raises(RerankTimeoutError) as late:
        reranker.rank("q", list("abcdefgh"), timeout=1.0)
    assert len(app.bodies) < 8
    assert late.value.computing_seconds > 0


def test_waiting_for_another_attempt_is_part_of_the_time(serve: Serve) -> None:
    app = RerankApp()
    app.always = status(503, Retry_After="20")
    with Qwen3Reranker("m", remote=serve(app), **WORDS) as reranker, pytest.raises(RerankTimeoutError):
        reranker.score([("q", "d"), ("p", "d")], timeout=0.5)


def test_a_server_that_never_answers_does_not_hold_the_caller() -> None:
    with listening(ENDLESS["a body that drips"]) as url:
        reranker = Qwen3Reranker("m", remote=f"{url}/v1/rerank", timeout=0.5, **WORDS)
        with reranker, pytest.raises(RerankTimeoutError) as late:
            reranker.log_odds("q", ["d"])
    assert late.value.computing_seconds > 0, "the server has the request"


def test_rerankers_with_other_timeouts_share_a_connection() -> None:
    first = Qwen3Reranker("m", remote="http://localhost:1", timeout=1.0, **WORDS)
    with first, Qwen3Reranker("m", remote="http://localhost:1", **WORDS) as second:
        assert first.remote == second.remote
        assert (first.timeout, second.timeout) == (1.0, None)


def test_the_usage_and_the_stats_of_a_server_say_what_is_known(serve: Serve) -> None:
    with Qwen3Reranker("m", remote=serve(RerankApp()), **WORDS) as reranker:
        usage = reranker.rank("q", ["d", "e", " "]).usage
        assert reranker.stats() == Stats(calls=1, documents=3)
    assert usage is not None
    assert (usage.documents, usage.naive_tokens, usage.unique_tokens, usage.passes) == (3, None, None, None)
    assert usage.computing_seconds > 0


def test_the_queue_of_a_server_cannot_be_limited_here() -> None:
    with pytest.raises(SettingsError, match="max_waiting_tokens limits the queue of a model in this process"):
        Qwen3Reranker("m", remote="http://localhost:1", max_waiting_tokens="auto", **WORDS)
