"""`qwen3-rerank serve`: its options become the settings of the server; tests/serve has the process itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Run, one_line
from tests.optional import need

need("fastapi")
need("uvicorn")
need("prometheus_client")

from qwen3_rerank_plugins.serve import server  # noqa: E402
from qwen3_rerank_plugins.serve.settings import ServeSettings  # noqa: E402


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ServeSettings]]:
    """What the command starts, instead of starting it."""
    calls: list[tuple[Any, ServeSettings]] = []

    def run_server(reranker: Any, settings: ServeSettings, on_listening: Any) -> None:
        on_listening("http://127.0.0.1:1")
        calls.append((reranker, settings))

    monkeypatch.setattr(server, "run_server", run_server)
    monkeypatch.delenv("QWEN3_RERANK_API_KEY", raising=False)
    return calls


def test_the_options_reach_the_server_and_the_reranker(run: Run, started: list[Any]) -> None:
    done = run(
        *(
            "serve",
            "--model",
            "demo",
            "--port",
            "0",
            "--served-name",
            "ours",
            "--max-documents",
            "9",
            "--max-body",
            "2",
        ),
        *("--shutdown", "5", "--instruction", "Find it", "--timeout", "7", "--max-waiting-tokens", "1000"),
        *("--max-length", "300", "--long-documents", "windows"),
    )
    assert done.exit_code == 0
    ((reranker, settings),) = started
    assert settings == ServeSettings(port=0, name="ours", max_documents=9, max_body_bytes=2 * 2**20, shutdown_seconds=5)
    assert (reranker.instruction, reranker.timeout, reranker.max_waiting_tokens) == ("Find it", 7, 1000)
    assert (reranker.max_length, reranker.long_documents) == (300, "windows")
    assert "listening at http://127.0.0.1:1" in done.stderr


def test_the_defaults_limit_what_waits_and_let_nobody_else_in(run: Run, started: list[Any]) -> None:
    assert run("serve", "--model", "demo").exit_code == 0
    ((reranker, settings),) = started
    assert settings == ServeSettings()
    assert reranker.max_waiting_tokens == "auto"


def test_an_open_address_needs_a_key_from_the_environment_or_a_second_word(
    run: Run, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = run("serve", "--model", "demo", "--host", "0.0.0.0")
    assert refused.exit_code == 2
    assert "--allow-anyone" in one_line(refused.stderr)
    assert run("serve", "--model", "demo", "--host", "0.0.0.0", "--allow-anyone").exit_code == 0
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "sk-1")
    assert run("serve", "--model", "demo", "--host", "0.0.0.0").exit_code == 0
    assert [settings.api_key for _, settings in started] == [None, "sk-1"]


def test_a_port_that_is_taken_is_one_line(run: Run) -> None:
    with server._listen("127.0.0.1", 0) as taken:
        done = run("serve", "--model", "demo", "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "cannot be opened" in one_line(done.stderr)
