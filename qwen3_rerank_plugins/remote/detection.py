"""A server's URL as users have it, and what its path says.

A URL may name a server, a version of its API, or the endpoint itself. The path of an endpoint also says which protocols
are spoken there.
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
"""Last part of an endpoint's path -> protocols of the servers that have it."""
_LATER_VERSIONS = ("cohere", "vllm-rerank")
"""Protocols of the servers whose API has a version 2."""
_ENDS = re.compile(rf"(.*?)(?:/+(v\d+))?(?:/+({'|'.join(_SPOKEN_AT)}))?/*", re.DOTALL)
"""Any path: what comes before, a version, an endpoint."""


class Address:
    """A server's URL, taken apart.

    Args:
        url: of the server, of a version of its API (`.../v1`), or of its endpoint (`.../v1/rerank`).

    Attributes:
        root: the URL without the version and the endpoint.
        version: such as "v1"; None if the URL names none.
        endpoint: the whole URL if it names an endpoint, else None.
        protocols: what servers with such a path speak, the most common one first.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        ends: tuple[str, str | None, str | None]
        ends = _ENDS.fullmatch(parts.path).groups()  # type: ignore[union-attr,assignment]  # it fits any path
        before, self.version, name = ends
        self.root = urlunsplit((parts.scheme, parts.netloc, before.rstrip("/"), "", ""))
        self._end = "".join(f"/{part}" for part in (self.version, name) if part)
        self.endpoint = self.root + self._end if name else None
        self.protocols = _SPOKEN_AT[name] if name else ("vllm", *_RERANKING)
        if self.version not in (None, "v1") and name != "score":
            self.protocols = tuple(protocol for protocol in self.protocols if protocol in _LATER_VERSIONS)

    @property
    def names_its_api(self) -> bool:
        """Whether the URL says more than where the server is."""
        return bool(self._end)

    def of(self, path: str) -> str:
        """The URL of a path at the root."""
        return f"{self.root}/{path}"

    def listing(self, path: str) -> tuple[str, ...]:
        """The URLs where a server may tell about itself: at the root, and below the version."""
        versioned = f"{self.root}/{self.version}/{path}" if self.version else None
        return (self.of(path), versioned) if versioned else (self.of(path),)

    def endpoint_of(self, path: str) -> str:
        """Where to ask for scores: the endpoint of the URL, else the protocol's path in the version of the URL."""
        if self.endpoint:
            return self.endpoint
        return f"{self.root}/{self.version}/{path.rpartition('/')[2]}" if self.version else self.of(path)

    def refuses(self, protocol: str) -> str | None:
        """Why a protocol's requests must not be sent to this path; None if they may.

        A gateway may have the endpoint of any reranking protocol at any path, so that only the two kinds of endpoint
        are kept apart: those that score pairs and those that rerank.
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


_OWNERS = ("vllm", "sglang", "infinity")
"""What servers name as the owner of the models in their list; for us also the name of the dialect."""
_LISTS = ("v1/models", "models")
_LIMIT = "max_client_batch_size"
"""What Text Embeddings Inference calls the most texts that it takes in one request."""
_KEY_WANTED = (401, 403)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What was found out about a server.

    Attributes:
        protocol: the name of its dialect.
        documents_per_request: the most that it takes; None if it does not say.
    """

    protocol: str
    documents_per_request: int | None = None


class Asks(TypingProtocol):
    """Whatever can fetch JSON that may be there."""

    async def get(self, url: str) -> object:
        """The JSON, or None."""
        ...


async def detect(client: Asks, address: Address) -> Found:
    """Find out what a server speaks.

    A server of one kind only has some paths, and is not asked. Else the server's own word counts, as far as its path
    allows. A path that more than one kind of server has stands for the most common of them.

    Raises:
        SettingsError: neither the server nor the address says what it is.
        RemoteUnreachableError: the server says nothing at all.
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


async def ask_tei(client: Asks, address: Address) -> Found | None:
    """What Text Embeddings Inference says about itself; None if this is another server."""
    for url in address.listing("info"):
        about = await _get(client, url, address)
        if isinstance(about, dict) and _LIMIT in about:
            most = about[_LIMIT]
            return Found("tei", most if isinstance(most, int) and most > 0 else None)
    return None


async def _ask_owner(client: Asks, address: Address) -> str | None:
    urls = [address.of(path) for path in _LISTS] + list(address.listing("models")[1:])
    for url in dict.fromkeys(urls):
        owner = _owner(await _get(client, url, address))
        if owner in _OWNERS:
            return owner
    return None


async def _get(client: Asks, url: str, address: Address) -> object:
    """JSON that may be there. Some gateways let nobody ask for anything but scores: then the address has to do."""
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
