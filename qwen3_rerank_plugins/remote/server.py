"""Texts -> log-odds: one server in its own dialect, in requests that it can take, in the order of the documents.

Comes in: `Wording`. Goes out: one log-odds a document.
Must not know: templates, callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from qwen3_rerank_plugins.remote.address import Address
from qwen3_rerank_plugins.remote.answers import Scale, read_answer
from qwen3_rerank_plugins.remote.client import HttpClient
from qwen3_rerank_plugins.remote.detection import detect
from qwen3_rerank_plugins.remote.dialects import DIALECTS, body_of
from qwen3_rerank_plugins.remote.settings import RemoteSettings
from qwen3_rerank_plugins.remote.wording import Wording

CHARACTERS_PER_REQUEST = 400_000
"""Of documents; in UTF-8 that stays below the two megabytes at which Text Embeddings Inference refuses a request."""


class Server:
    """One server, whatever it is.

    Args:
        client: to ask it.
        settings: how it is asked.
        protocol: the name of its dialect.

    Attributes:
        protocol: that name.
        scale: what its numbers are.
    """

    def __init__(self, client: HttpClient, settings: RemoteSettings, protocol: str) -> None:
        self.protocol = protocol
        self._client = client
        self._settings = settings
        self._dialect = DIALECTS[protocol]
        self._endpoint = Address(settings.url).endpoint(self._dialect.path)
        can_ask = self._dialect.logits is not None
        automatic: Scale = "logit" if can_ask else "probability"
        self.scale: Scale = automatic if settings.scores == "auto" else settings.scores

    @classmethod
    async def find(cls, client: HttpClient, settings: RemoteSettings) -> Server:
        """The server of the settings; with `protocol="auto"` it is asked what it is."""
        automatic = settings.protocol == "auto"
        protocol = await detect(client, Address(settings.url)) if automatic else settings.protocol
        return cls(client, settings, protocol)

    @property
    def takes_instructions(self) -> bool:
        """Whether its requests have a field for one."""
        return self._dialect.instruction is not None

    async def log_odds(self, wording: Wording) -> tuple[float, ...]:
        """Of each document, in their order; the first failure stops what has not been sent."""
        batches = list(_batches(wording.documents, self._settings.documents_per_request))
        tasks = [asyncio.ensure_future(self._ask(wording, batch)) for batch in batches]
        try:
            return tuple(score for scores in await asyncio.gather(*tasks) for score in scores)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask(self, wording: Wording, documents: Sequence[str]) -> tuple[float, ...]:
        body = body_of(
            self._dialect,
            self._settings.model,
            wording.query,
            documents,
            wording.instruction,
            logits=self.scale == "logit",
        )
        answer = await self._client.post(self._endpoint, body)
        return read_answer(answer, self._dialect, len(documents), self.scale)


def _batches(documents: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    batch: list[str] = []
    characters = 0
    for document in documents:
        if batch and (len(batch) == most or characters + len(document) > CHARACTERS_PER_REQUEST):
            yield tuple(batch)
            batch, characters = [], 0
        batch.append(document)
        characters += len(document)
    if batch:
        yield tuple(batch)
