"""Proxies and certificates of the environment: each variable works, or is named by an error of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import RemoteUnreachableError, SettingsError
from qwen3_rerank_plugins.remote.environment import find_proxy
from tests.remote.app import RerankApp, closed_port
from tests.remote.conftest import Serve
from tests.remote.wire import always, listening

WORDS: dict[str, Any] = {"template": "server", "protocol": "cohere", "probe": False}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the machine of whoever runs the tests may have some."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL"):
            monkeypatch.delenv(name)


def rank(url: str) -> float:
    with Qwen3Reranker("m", remote=url, **WORDS) as it:
        return it.rank("q", ["d"])[0].score


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("all_proxy", "socks5h://127.0.0.1:1080"),
        ("HTTP_PROXY", "htp://proxy:3128"),
        ("HTTP_PROXY", "http//proxy:3128"),
        ("HTTP_PROXY", "http:/proxy:3128"),
        ("http_proxy", "http:proxy:3128"),
        ("HTTP_PROXY", "http://proxy:port"),
        ("HTTP_PROXY", "http://proxy:99999"),
        ("HTTP_PROXY", "http://"),
        ("HTTP_PROXY", "://proxy"),
        ("HTTP_PROXY", "http://[::1"),
        ("HTTP_PROXY", "http://pro xy:3128"),
        ("HTTP_PROXY", "http://proxy:3128\x1b[31m"),
        ("HTTP_PROXY", "http://\N{SNOWMAN}:3128"),
        ("HTTP_PROXY", "http://me:sesame:x@proxy:x"),
        ("ALL_PROXY", "ftp://proxy"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", "."),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
        ("SSL_CERT_DIR", __file__),
        ("SSLKEYLOGFILE", "/nowhere/keys.log"),
        ("SSLKEYLOGFILE", "."),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with listening(always()) as url, pytest.raises(SettingsError, match=variable) as caught:
        rank(url)
    assert "sesame" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("exceptions", "message"),
    [("fd00::/999", "NO_PROXY holds 'fd00::/999', which is no range"), ("10.0.0.0/8/8", "NO_PROXY holds")],
)
def test_a_range_that_is_none_is_named(exceptions: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    monkeypatch.setenv("NO_PROXY", exceptions)
    with listening(always()) as url, pytest.raises(SettingsError, match=message):
        rank(url)


@pytest.mark.parametrize(
    ("exceptions", "url", "excepted"),
    [
        ("fd00::/8,::1/128", "http://[fd12::1]:8000", True),
        ("fd00::/8,::1/128", "http://[::1]:8000", True),
        ("fd00::/8", "http://[2001:db8::1]", False),
        ("fd00::/8, 10.0.0.0/8", "http://10.1.2.3", True),
        ("fd00::/8,10.0.0.0/8", "http://far.example", False),
        ("127.0.0.1", "http://127.0.0.1:1234", True),
        ("::1", "http://[::1]:1", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]:8000", "http://[::1]:9000", False),
        ("far.example", "http://far.example", True),
        ("far.example", "http://very.far.example", True),
        (".far.example", "http://very.far.example", True),
        ("*.far.example", "http://very.far.example", True),
        ("far.example", "http://notfar.example", False),
        ("far.example:8000", "http://far.example:8000", True),
        ("far.example:8000", "http://far.example", False),
        ("http://far.example", "http://far.example", True),
        ("FAR.example", "http://far.EXAMPLE", True),
        (" , ,localhost", "http://localhost:1", True),
        ("*", "http://far.example", True),
        ("", "http://far.example", False),
    ],
)
def test_what_no_proxy_has_is_asked_directly(
    exceptions: str, url: str, excepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (find_proxy(url) is None) == excepted


@pytest.mark.parametrize("exceptions", ["fd00::/8,::1/128,127.0.0.0/8", "127.0.0.1"])
def test_a_range_of_ipv6_addresses_in_no_proxy_harms_nobody(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", exceptions)
    with listening(always()) as url:
        assert rank(url) == 0.5
        monkeypatch.setenv("HTTP_PROXY", closed_port())
        assert rank(url) == 0.5


def test_a_variable_of_another_scheme_or_an_empty_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "garbage://")
    monkeypatch.setenv("HTTP_PROXY", "")
    monkeypatch.setenv("SSL_CERT_FILE", "")
    with listening(always()) as url:
        assert rank(url) == 0.5
    assert find_proxy("http://far.example") is None
    with pytest.raises(SettingsError, match="HTTPS_PROXY is not the URL of a proxy"):
        find_proxy("https://far.example")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_gets_the_request_and_an_error_names_its_variable(
    variable: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = RerankApp()
    monkeypatch.setenv(variable, serve(app).removeprefix("http://"))
    assert rank("http://far.example") > 0
    assert len(app.bodies) == 1
    monkeypatch.setenv(variable, closed_port())
    with pytest.raises(RemoteUnreachableError, match=f"through the proxy that {variable} names"):
        rank("http://far.example")


def test_certificates_of_a_file_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    with listening(always()) as url:
        assert rank(url) == 0.5
