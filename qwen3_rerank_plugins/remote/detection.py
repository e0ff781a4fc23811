"""Which server is it? Each of them says so somewhere.

Comes in: an address. Goes out: the name of a dialect.
Must not know: scores.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol

from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.address import Address
from qwen3_rerank_plugins.remote.dialects import DIALECTS

_OWNERS = ("vllm", "sglang", "infinity")
"""What servers name as the owner of the models in their list; for us also the name of the dialect."""
_LISTS = ("v1/models", "models")


class Asks(TypingProtocol):
    """Whatever can fetch JSON that may be there."""

    async def get(self, url: str) -> object:
        """The JSON, or None."""
        ...


async def detect(client: Asks, address: Address) -> str:
    """The dialect's name.

    Raises:
        SettingsError: the server does not say what it is.
        RemoteUnreachableError: it says nothing.
    """
    for path in _LISTS:
        owner = _owner(await client.get(address.of(path)))
        if owner in _OWNERS:
            return owner
    if isinstance(about := await client.get(address.of("info")), dict) and "max_client_batch_size" in about:
        return "tei"
    raise SettingsError(
        f"The server at {address.base} does not say what it is. Pass protocol=... with one of "
        f"{', '.join(map(repr, DIALECTS))}; 'cohere' is the most common."
    )


def _owner(listing: object) -> str:
    models = listing.get("data") if isinstance(listing, dict) else None
    models = models if isinstance(models, list) else [models]
    first = models[0] if models else None
    return str(first.get("owned_by", "")) if isinstance(first, dict) else ""
