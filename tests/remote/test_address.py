"""An address may be a server's, an API version's or an endpoint's."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.remote.address import Address


@pytest.mark.parametrize(
    ("url", "path", "endpoint", "listing"),
    [
        ("http://h:8000", "v1/rerank", "http://h:8000/v1/rerank", "http://h:8000/v1/models"),
        ("http://h:8000/", "score", "http://h:8000/score", "http://h:8000/v1/models"),
        ("http://h/v1", "v1/rerank", "http://h/v1/rerank", "http://h/v1/models"),
        ("http://h/v1", "rerank", "http://h/v1/rerank", "http://h/v1/models"),
        ("http://h/v1/rerank", "v1/rerank", "http://h/v1/rerank", "http://h/v1/models"),
        ("http://h/v2/rerank", "v1/rerank", "http://h/v2/rerank", "http://h/v1/models"),
        ("http://h/proxy/score", "score", "http://h/proxy/score", "http://h/proxy/v1/models"),
        ("http://h/proxy", "v1/rerank", "http://h/proxy/v1/rerank", "http://h/proxy/v1/models"),
    ],
)
def test_endpoint_and_listing_follow_from_the_address(url: str, path: str, endpoint: str, listing: str) -> None:
    assert Address(url).endpoint_of(path) == endpoint
    assert Address(url).of("v1/models") == listing
