"""Which protocol does a server speak, and how much does it take at once? It says so itself, or its path does."""

from __future__ import annotations

import dataclasses
from typing import Protocol as TypingProtocol

from qwen3_rerank_plugins.errors import RemoteRefusedError, SettingsError
from qwen3_rerank_plugins.remote.address import Address
from qwen3_rerank_plugins.remote.dialects import DIALECTS

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
        f"{', '.join(map(repr, DIALECTS))}; 'cohere' is the most common."
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
