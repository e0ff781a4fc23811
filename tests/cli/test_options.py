"""The shared options: declared once, read by typer, and passed to the reranker."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from qwen3_rerank_plugins.cli.options import CACHE, ENGINE, SCORING, SERVER, EngineOptions, Json, engine_options
from qwen3_rerank_plugins.remote.settings import DEFAULT_TIMEOUT
from tests.optional import need


def test_the_groups_name_every_field_exactly_once() -> None:
    assert sorted(ENGINE + CACHE + SCORING + SERVER) == sorted(
        field.name for field in dataclasses.fields(EngineOptions)
    )


def test_a_command_has_the_options_in_place_of_engine() -> None:
    given: list[tuple[bool, EngineOptions]] = []

    @engine_options(("model", "device", "compile"), omit=("compile",), model="demo")
    def command(as_json: Json = False, *, engine: EngineOptions) -> None:
        given.append((as_json, engine))

    parameters = inspect.signature(command).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "as_json": False,
        "model": "demo",
        "device": "auto",
    }
    assert list(inspect.get_annotations(command)) == list(parameters)
    command(as_json=True, model="other", device="cpu")
    assert given == [(True, EngineOptions(model="other", device="cpu"))]


def test_the_reranker_has_the_options_and_those_that_the_command_adds() -> None:
    reranker = EngineOptions(model="demo", threads=2).reranker(top_n=3, model="owner/name")
    assert (reranker.settings.model, reranker.settings.threads, reranker.top_n) == ("owner/name", 2, 3)


def test_the_key_of_a_server_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    need("httpx")
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "secret")
    remote = EngineOptions(remote="http://localhost:1", template="server", no_probe=True).reranker().remote
    assert remote is not None
    assert (remote.api_key, remote.probe, remote.timeout) == ("secret", False, DEFAULT_TIMEOUT)
    assert EngineOptions().reranker().remote is None
