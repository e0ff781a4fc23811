"""A server says what it is, or the user has to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.detection import Address, detect


class Pages:
    """What is at each path."""

    def __init__(self, **pages: Any) -> None:
        self._pages = pages

    async def get(self, url: str) -> object:
        return self._pages.get(url.removeprefix("http://h/").replace("/", "_"))


def found(**pages: Any) -> str:
    return asyncio.run(detect(Pages(**pages), Address("http://h"))).protocol


@pytest.mark.parametrize("owner", ["vllm", "sglang", "infinity"])
@pytest.mark.parametrize("path", ["v1_models", "models"])
def test_the_owner_in_the_list_of_models_is_the_dialect(owner: str, path: str) -> None:
    assert found(**{path: {"data": [{"id": "m", "owned_by": owner}]}}) == owner
    assert found(**{path: {"data": {"id": "m", "owned_by": owner}}}) == owner


def test_a_server_of_this_package_is_asked_like_vllm_which_has_a_field_for_everything() -> None:
    assert found(v1_models={"data": [{"id": "m", "owned_by": "qwen3-rerank-plugins"}]}) == "vllm"


def test_text_embeddings_inference_says_so_in_its_info() -> None:
    assert found(info={"model_id": "m", "max_client_batch_size": 32}) == "tei"


@pytest.mark.parametrize(
    "listing", [None, [], "x", {}, {"data": []}, {"data": [None]}, {"data": [{"owned_by": "openai"}]}], ids=str
)
def test_what_nothing_can_be_told_from_has_to_be_said(listing: object) -> None:
    with pytest.raises(SettingsError, match=r"does not say what it is. Pass protocol=\.\.\. with one of 'vllm'"):
        found(v1_models=listing, info={"version": 1})


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
