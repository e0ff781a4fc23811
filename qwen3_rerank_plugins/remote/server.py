"""Texts -> log-odds: one server in its own dialect, in requests that it can take, in the order of the documents."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Sequence

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.errors import RemoteRefusedError
from qwen3_rerank_plugins.remote.client import HttpClient
from qwen3_rerank_plugins.remote.detection import Address, Found, ask_tei, detect
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS, Scale, body_of, read_answer
from qwen3_rerank_plugins.remote.settings import RemoteSettings
from qwen3_rerank_plugins.remote.texts import RequestTexts

CHARACTERS_PER_REQUEST = 400_000
"""Of documents; in UTF-8 that stays below the two megabytes at which Text Embeddings Inference refuses a request."""
_TOO_LARGE = 413
_MALFORMED = (400, 422)
_TOO_MANY_DOCUMENTS = re.compile(
    r"batch size|too many (documents|texts|inputs|items)|at most \d+ (documents|texts|items)"
)
_ENOUGH_TO_TELL = 4
"""Scores, all between 0 and 1, that are hardly log-odds."""


class Server:
    """One server, whatever it is.

    Args:
        client: to ask it.
        settings: how it is asked.
        found: what it speaks, and how much it takes at once.

    Attributes:
        protocol: the name of its dialect.
        scale: what its numbers are.
    """

    def __init__(self, client: HttpClient, settings: RemoteSettings, found: Found) -> None:
        self.protocol = found.protocol
        self._client = client
        self._settings = settings
        self._dialect = PROTOCOLS[found.protocol]
        self._endpoint = Address(settings.url).endpoint_of(self._dialect.path)
        self._most = min(settings.documents_per_request, found.documents_per_request or math.inf)
        can_ask = self._dialect.logits is not None
        automatic: Scale = "logit" if can_ask else "probability"
        self.scale: Scale = automatic if settings.scores == "auto" else settings.scores
        self._watched: int | None = 0 if self.scale == "logit" else None

    @classmethod
    async def find(cls, client: HttpClient, settings: RemoteSettings) -> Server:
        """The server of the settings. It is asked what it speaks, if they say "auto", and how much it takes."""
        address = Address(settings.url)
        if settings.protocol == "auto":
            return cls(client, settings, await detect(client, address))
        limits = await ask_tei(client, address) if settings.protocol == "tei" else None
        return cls(client, settings, limits or Found(settings.protocol))

    @property
    def takes_instructions(self) -> bool:
        """Whether its requests have a field for one."""
        return self._dialect.instruction is not None

    async def log_odds(self, wording: RequestTexts) -> tuple[float, ...]:
        """Of each document, in their order; the first failure stops what has not been sent.

        The requests of one call take turns with those of others.
        """
        caller = object()
        batches = list(self._batches(wording.documents))
        found: list[tuple[float, ...]] = [()] * len(batches)
        left = enumerate(batches)

        async def ask() -> None:
            for place, batch in left:  # which all tasks share, so that each batch goes to one of them
                found[place] = await self._ask(wording, batch, caller)

        tasks = [asyncio.ensure_future(ask()) for _ in batches[: self._settings.requests_at_once]]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return tuple(score for scores in found for score in scores)

    async def _ask(self, wording: RequestTexts, documents: Sequence[str], caller: object) -> tuple[float, ...]:
        if len(documents) > self._most:  # found out since the batch was made
            return await self._ask_in_parts(wording, documents, int(self._most), caller)
        body = body_of(
            self._dialect,
            self._settings.model,
            wording.query,
            documents,
            wording.instruction,
            logits=self.scale == "logit",
        )
        try:
            answer = await self._client.post(self._endpoint, body, caller)
        except RemoteRefusedError as error:
            half = len(documents) // 2
            too_many = error.status in _MALFORMED and _TOO_MANY_DOCUMENTS.search(str(error).lower())
            if not half or not (too_many or error.status == _TOO_LARGE):
                raise
            if too_many:
                self._most = min(self._most, half)
        else:
            found = read_answer(answer, self._dialect, len(documents), self.scale, self._client.redaction.quote)
            self._watch(found)
            return found
        return await self._ask_in_parts(wording, documents, half, caller)

    async def _ask_in_parts(
        self, wording: RequestTexts, documents: Sequence[str], most: int, caller: object
    ) -> tuple[float, ...]:
        found: tuple[float, ...] = ()
        for start in range(0, len(documents), most):
            found += await self._ask(wording, documents[start : start + most], caller)
        return found

    def _watch(self, scores: Sequence[float]) -> None:
        """Warn once if what should be log-odds looks like probabilities, as with `probe=False` nothing else tells."""
        if self._watched is None:
            return
        self._watched += len(scores)
        if not all(0 <= score <= 1 for score in scores):
            self._watched = None
        elif self._watched >= _ENOUGH_TO_TELL:
            logger.warning(
                "All %d scores that the server has sent so far are between 0 and 1. They look like probabilities, and "
                "are taken for log-odds. If they are probabilities, say scores='probability'.",
                self._watched,
            )
            self._watched = None

    def _batches(self, documents: Sequence[str]) -> Iterator[tuple[str, ...]]:
        batch: list[str] = []
        characters = 0
        for document in documents:
            if batch and (len(batch) >= self._most or characters + len(document) > CHARACTERS_PER_REQUEST):
                yield tuple(batch)
                batch, characters = [], 0
            batch.append(document)
            characters += len(document)
        if batch:
            yield tuple(batch)
