"""Requests are no larger than the server takes them: as it says, or as it turns out."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.errors import RemoteRefusedError
from qwen3_rerank_plugins.remote import RemoteScorer
from tests.remote.app import RerankApp, status
from tests.remote.conftest import Connect


def scores(scorer: RemoteScorer, many: int) -> tuple[float, ...]:
    documents = [f"{'a ' * (number % 3)}{number}" for number in range(many)]
    return scorer.submit(make_request("a b", documents, None)).result(60).log_odds


@pytest.mark.parametrize("protocol", ["auto", "tei"])
def test_a_server_that_publishes_its_largest_batch_gets_no_larger_one(protocol: str, connect: Connect) -> None:
    app = RerankApp("tei")
    app.largest_batch = 3
    found = scores(connect(app, protocol=protocol), 10)
    assert len(found) == 10
    assert sorted(len(body["texts"]) for body in app.bodies) == [1, 3, 3, 3]


@pytest.mark.parametrize("published", [32, "many", 0, -1, 1e9, None])
def test_a_batch_that_is_refused_as_too_large_is_halved_and_so_are_those_that_follow(
    published: object, connect: Connect
) -> None:
    app = RerankApp("tei")
    app.largest_batch, app.published_batch = 8, published or "nothing"
    scorer = connect(app, requests_at_once=1)
    assert scores(scorer, 64) == scores(connect(RerankApp("tei")), 64)
    assert sorted(len(body["texts"]) for body in app.bodies) == [8] * 8 + [16, 32]
    app.bodies.clear()
    scores(scorer, 20)
    assert max(len(body["texts"]) for body in app.bodies) == 8


@pytest.mark.parametrize("dialect", ["cohere", "vllm", "infinity"])
def test_any_server_that_finds_a_batch_too_large_gets_smaller_ones(dialect: str, connect: Connect) -> None:
    app = RerankApp(dialect)
    app.largest_batch = 5
    assert len(scores(connect(app), 40)) == 40


def test_a_request_that_is_too_large_is_halved_without_a_rule_for_others(connect: Connect) -> None:
    app = RerankApp()
    app.faults.append(status(413))
    scorer = connect(app, requests_at_once=1)
    assert len(scores(scorer, 32)) == 32
    assert [len(body["documents"]) for body in app.bodies] == [32, 16, 16]
    app.bodies.clear()
    scores(scorer, 32)
    assert [len(body["documents"]) for body in app.bodies] == [32]


def test_one_document_that_is_too_large_is_an_error(connect: Connect) -> None:
    app = RerankApp()
    app.always = status(413)
    with pytest.raises(RemoteRefusedError, match="Send less at once"):
        scores(connect(app), 4)
    assert [len(body["documents"]) for body in app.bodies][:3] == [4, 2, 1]
