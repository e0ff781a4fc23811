"""The settings of the HTTP server: where it listens, who may use it, and how much one request may hold."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path

from qwen3_rerank_plugins.engine.settings import as_secret, positive_int
from qwen3_rerank_plugins.errors import SettingsError

LARGEST_PORT = 65535


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The settings of a server.

    Attributes:
        host: address to listen on.
        port: to listen on; 0 lets the system choose one.
        api_key: that every request must carry; None lets everyone in who can reach the address.
        allow_anyone: permits an address other than this machine's own without a key.
        name: of the model in answers; None is the name in the reranker's settings.
        embedding_model: hub ID or folder of the model behind `/v1/embeddings`; None offers no such endpoint.
        max_body_bytes: maximum size of one request.
        max_documents: maximum number of documents, or texts to embed, in one request.
        shutdown_seconds: how long requests may take to finish after the server was told to stop.

    Raises:
        SettingsError: a value is malformed, or the address is open to others and there is no key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = dataclasses.field(default=None, repr=False)
    allow_anyone: bool = False
    name: str | None = None
    embedding_model: str | None = None
    max_body_bytes: int = 32 * 2**20
    max_documents: int = 10_000
    shutdown_seconds: int = 60

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", as_secret(self.api_key))  # before an error report can show it
        for name in ("max_body_bytes", "max_documents", "shutdown_seconds"):
            positive_int(name, getattr(self, name))
        if not 0 <= self.port <= LARGEST_PORT:
            raise SettingsError(f"port must be between 0 and {LARGEST_PORT}, got {self.port}.")
        if self.api_key is not None and not re.fullmatch("[!-~]+", self.api_key):
            raise SettingsError("api_key must be one run of visible ASCII characters; strip its line break.")
        if not (self.is_local or self.api_key or self.allow_anyone):
            raise SettingsError(
                f"Everyone who can reach {self.host} could use this server, because it has no API key. Set the "
                "environment variable QWEN3_RERANK_API_KEY, or pass --allow-anyone if that is what you want."
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the address."""
        return is_loopback(self.host)


def served_name(model: str) -> str:
    """Return the name of a model in answers: that of the hub, or of a folder without the path to it."""
    return Path(model).name if Path(model).is_absolute() else str(model)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's own address, such as "localhost", "127.0.0.1" or "::1"."""
    name = host.strip("[]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
