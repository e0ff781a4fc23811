"""Detect the protocol of a server, from the path of its URL and from its answers about itself.

A URL may name a server, a version of its API, or its endpoint.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Protocol as TypingProtocol
from urllib.parse import urlsplit, urlunsplit

from qwen3_rerank_plugins.errors import RemoteRefusedError, SettingsError
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS

_RERANKING = ("cohere", "vllm-rerank", "sglang", "tei", "infinity")
_SPOKEN_AT = {
    "score": ("vllm",),
    "rerank": _RERANKING,
    "reranking": ("cohere",),  # llama-server
    "reranks": ("cohere",),  # Alibaba's Model Studio
}
"""Protocols of the servers that have an endpoint, by the last part of its path."""
_LATER_VERSIONS = ("cohere", "vllm-rerank")
"""Protocols of the servers whose API has a version 2."""
_ENDS = re.compile(rf"(.*?)(?:/+(v\d+))?(?:/+({'|'.join(_SPOKEN_AT)}))?/*", re.DOTALL)
"""Matches any path: a prefix, a version and an endpoint."""
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "infinity": "infinity", "qwen3-rerank-plugins": "vllm"}
"""Protocols of the servers that name an owner in their list of models. The last one is `qwen3-rerank serve`, which
speaks all protocols; vLLM's has fields for the instruction and for log-odds."""
_MODEL_LISTS = ("v1/models", "models")
_LIMIT = "max_client_batch_size"
"""The field in which Text Embeddings Inference states the maximum texts of one request."""
_KEY_WANTED = (401, 403)


class Address:
    """The parts of a server's URL.

    Args:
        url: of the server, of a version of its API (`.../v1`), or of its endpoint (`.../v1/rerank`).

    Attributes:
        root: the URL without the version and the endpoint.
        version: such as "v1"; None if the URL names none.
        endpoint: the whole URL if it names an endpoint, else None.
        protocols: the protocols of servers with such a path, the most common one first.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        ends: tuple[str, str | None, str | None]
        ends = _ENDS.fullmatch(parts.path).groups()  # type: ignore[union-attr,assignment]  # it matches any path
        before, self.version, name = ends
        self.root = urlunsplit((parts.scheme, parts.netloc, before.rstrip("/"), "", ""))
        self._end = "".join(f"/{part}" for part in (self.version, name) if part)
        self.endpoint = self.root + self._end if name else None
        self.protocols = _SPOKEN_AT[name] if name else ("vllm", *_RERANKING)
        if self.version not in (None, "v1") and name != "score":
            self.protocols = tuple(protocol for protocol in self.protocols if protocol in _LATER_VERSIONS)

    @property
    def names_its_api(self) -> bool:
        """Whether the URL names a version or an endpoint."""
        return bool(self._end)

    def of(self, path: str) -> str:
        """Return the URL of a path at the root."""
        return f"{self.root}/{path}"

    def listing(self, path: str) -> tuple[str, ...]:
        """Return the URLs where a server may describe itself: at the root, and below the version."""
        versioned = f"{self.root}/{self.version}/{path}" if self.version else None
        return (self.of(path), versioned) if versioned else (self.of(path),)

    def endpoint_of(self, path: str) -> str:
        """Return the URL to ask for scores: that of the settings, or the protocol's path below the URL's version."""
        if self.endpoint:
            return self.endpoint
        return f"{self.root}/{self.version}/{path.rpartition('/')[2]}" if self.version else self.of(path)

    def refuses(self, protocol: str) -> str | None:
        """Return why a protocol's requests must not be sent to this path, or None if they may.

        A gateway may serve any reranking protocol at any path. So only two kinds of endpoints are told apart: those
        that score pairs and those that rerank.
        """
        scores_pairs = protocol == "vllm"
        fits = "vllm" in self.protocols if scores_pairs else self.protocols != ("vllm",)
        if protocol == "auto" or fits:
            return None
        fitting = " or ".join(map(repr, ("auto", *self.protocols)))
        return (
            f"protocol={protocol!r} does not fit the path {self._end!r} of remote=URL, which belongs to another "
            f"protocol. Pass protocol={fitting}, or the address of the server without that path."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The detected properties of a server.

    Attributes:
        protocol: its name in `PROTOCOLS`.
        documents_per_request: the server's limit; None if it states none.
    """

    protocol: str
    documents_per_request: int | None = None


class JsonClient(TypingProtocol):
    """A client that can fetch JSON."""

    async def get(self, url: str) -> object:
        """Return the JSON, or None if there is none."""
        ...


async def detect(client: JsonClient, address: Address) -> Found:
    """Detect the protocol of a server.

    If only one protocol has such a path, the server is not asked. Otherwise the server's answer decides among the
    protocols with such a path. Without an answer, a URL with a version or an endpoint stands for the most common one.

    Raises:
        SettingsError: neither the server nor the address identifies the protocol.
        RemoteUnreachableError: the server does not answer.
    """
    if len(address.protocols) == 1:
        return Found(address.protocols[0])
    owner = await _ask_owner(client, address)
    if owner == "vllm" and "vllm" not in address.protocols:
        owner = "vllm-rerank"
    if owner in address.protocols:
        return Found(owner)
    if "tei" in address.protocols and (found := await ask_tei(client, address)):
        return found
    if address.names_its_api:
        return Found("cohere")
    raise SettingsError(
        f"The server at {address.root} does not say what it is. Pass protocol=... with one of "
        f"{', '.join(map(repr, PROTOCOLS))}; 'cohere' is the most common."
    )


async def ask_tei(client: JsonClient, address: Address) -> Found | None:
    """Return what Text Embeddings Inference states about itself; None for another server."""
    for url in address.listing("info"):
        about = await _get(client, url, address)
        if isinstance(about, dict) and _LIMIT in about:
            limit = about[_LIMIT]
            return Found("tei", limit if isinstance(limit, int) and limit > 0 else None)
    return None


async def _ask_owner(client: JsonClient, address: Address) -> str | None:
    urls = [address.of(path) for path in _MODEL_LISTS] + list(address.listing("models")[1:])
    for url in dict.fromkeys(urls):
        owner = _owner(await _get(client, url, address))
        if owner in _OWNERS:
            return _OWNERS[owner]
    return None


async def _get(client: JsonClient, url: str, address: Address) -> object:
    """Return the JSON at a URL, or None. Some gateways refuse everything but scores; then the address must suffice."""
    try:
        return await client.get(url)
    except RemoteRefusedError as error:
        if error.status in _KEY_WANTED and address.names_its_api:
            return None
        raise


def _owner(listing: object) -> str:
    models = listing.get("data") if isinstance(listing, dict) else None
    models = models if isinstance(models, list) else [models]
    first = models[0] if models else None
    return str(first.get("owned_by", "")) if isinstance(first, dict) else ""
