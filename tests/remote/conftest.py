"""Small servers for tests, and scorers that are closed afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.remote import RemoteScorer, RemoteSettings
from tests.remote.app import RerankApp, serving
from tests.remote.demo_server import DemoServer

Serve = Callable[[RerankApp], str]
Connect = Callable[..., RemoteScorer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which end with the test."""
    with contextlib.ExitStack() as running:
        yield lambda app: running.enter_context(serving(app))
        close_all()


@pytest.fixture
def connect(serve: Serve) -> Iterator[Connect]:
    """A scorer for an application, unprobed unless said otherwise, and impatient."""
    scorers: list[RemoteScorer] = []

    def make(app: RerankApp | str, **options: Any) -> RemoteScorer:
        url = app if isinstance(app, str) else serve(app)
        dialect = "cohere" if isinstance(app, str) else app.dialect
        own = {"template": "server", "protocol": dialect, "probe": False, "timeout": 5.0, **options}
        scorers.append(RemoteScorer(RemoteSettings(url=url, **own)))
        return scorers[-1]

    yield make
    for scorer in scorers:
        scorer.close()


@pytest.fixture(scope="session")
def joining() -> DemoServer:
    """The demo on a server that only joins what it is sent."""
    return DemoServer(template=False)


@pytest.fixture(scope="session")
def templating() -> DemoServer:
    """The demo on a server that has the template."""
    return DemoServer(template=True)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long between attempts as users do."""
    import tenacity

    monkeypatch.setattr("qwen3_rerank_plugins.remote.client._OWN_WAIT", tenacity.wait_fixed(0.01))
