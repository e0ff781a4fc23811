"""A server's URL as users have it, and what its path says.

A URL may name a server, a version of its API, or the endpoint itself. The path of an endpoint also says which protocols
are spoken there.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

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
