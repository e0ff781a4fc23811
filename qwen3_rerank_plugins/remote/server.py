"""Score texts on one server: in batches that it accepts, and with its protocol. The order of the documents stays."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Sequence

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.errors import RemoteRefusedError
from qwen3_rerank_plugins.remote.client import HttpClient
from qwen3_rerank_plugins.remote.detection import Address, Found, ask_tei, detect
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS, Scale, body_of, read_answer
from qwen3_rerank_plugins.remote.settings import RemoteSettings
from qwen3_rerank_plugins.remote.texts import RequestTexts

CHARACTERS_PER_REQUEST = 400_000
"""Limit for the documents of a request. Text Embeddings Inference refuses requests of two megabytes of UTF-8."""
_TOO_LARGE = 413
_MALFORMED = (400, 422)
_TOO_MANY_DOCUMENTS = re.compile(
    r"batch size|too many (documents|texts|inputs|items)|at most \d+ (documents|texts|items)"
)
_SCORES_TO_WARN = 4
"""So many scores, all between 0 and 1, are unlikely to be log-odds."""


class Server:
    """One rerank server.

    Args:
        client: sends the requests.
        settings: of the connection.
        found: the server's protocol and limit.

    Attributes:
        protocol: its name in `PROTOCOLS`.
        scale: what the server's scores are.
    """

    def __init__(self, client: HttpClient, settings: RemoteSettings, found: Found) -> None:
        self.protocol = found.protocol
        self._client = client
        self._settings = settings
        self._spec = PROTOCOLS[found.protocol]
        self._endpoint = Address(settings.url).endpoint_of(self._spec.path)
        self._limit = min(settings.documents_per_request, found.documents_per_request or math.inf)
        can_ask = self._spec.logits is not None
        automatic: Scale = "logit" if can_ask else "probability"
        self.scale: Scale = automatic if settings.scores == "auto" else settings.scores
        self._seen: int | None = 0 if self.scale == "logit" else None

    @classmethod
    async def find(cls, client: HttpClient, settings: RemoteSettings) -> Server:
        """Return the server of the settings, after detecting its protocol (if that is "auto") and its limit."""
        address = Address(settings.url)
        if settings.protocol == "auto":
            return cls(client, settings, await detect(client, address))
        limits = await ask_tei(client, address) if settings.protocol == "tei" else None
        return cls(client, settings, limits or Found(settings.protocol))

    @property
    def takes_instructions(self) -> bool:
        """Whether its requests have a field for an instruction."""
        return self._spec.instruction is not None

    async def log_odds(self, texts: RequestTexts, call: Call | None = None) -> tuple[float, ...]:
        """Return the log-odds of each document, in their order. After a failure, no further request is sent.

        The requests of this call take turns with those of other calls.
        """
        call = call or Call()
        batches = list(self._batches(texts.documents))
        found: list[tuple[float, ...]] = [()] * len(batches)
        left = enumerate(batches)

        async def ask() -> None:
            for index, batch in left:  # all tasks share this iterator, so that each batch goes to one of them
                found[index] = await self._ask(texts, batch, call)

        tasks = [asyncio.ensure_future(ask()) for _ in batches[: self._settings.requests_at_once]]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return tuple(score for scores in found for score in scores)

    async def _ask(self, texts: RequestTexts, documents: Sequence[str], call: Call) -> tuple[float, ...]:
        if len(documents) > self._limit:  # the limit became lower after the batch was made
            return await self._ask_in_parts(texts, documents, int(self._limit), call)
        body = body_of(
            self._spec,
            self._settings.model,
            texts.query,
            documents,
            texts.instruction,
            logits=self.scale == "logit",
        )
        try:
            answer = await self._client.post(self._endpoint, body, call)
        except RemoteRefusedError as error:
            half = len(documents) // 2
            too_many = error.status in _MALFORMED and _TOO_MANY_DOCUMENTS.search(str(error).lower())
            if not half or not (too_many or error.status == _TOO_LARGE):
                raise
            if too_many:
                self._limit = min(self._limit, half)
        else:
            found = read_answer(answer, self._spec, len(documents), self.scale, self._client.redaction.quote)
            self._warn_of_probabilities(found)
            return found
        return await self._ask_in_parts(texts, documents, half, call)

    async def _ask_in_parts(
        self, texts: RequestTexts, documents: Sequence[str], most: int, call: Call
    ) -> tuple[float, ...]:
        found: tuple[float, ...] = ()
        for start in range(0, len(documents), most):
            found += await self._ask(texts, documents[start : start + most], call)
        return found

    def _warn_of_probabilities(self, scores: Sequence[float]) -> None:
        """Warn once if log-odds look like probabilities, because with `probe=False` nothing else would show that."""
        if self._seen is None:
            return
        self._seen += len(scores)
        if not all(0 <= score <= 1 for score in scores):
            self._seen = None
        elif self._seen >= _SCORES_TO_WARN:
            logger.warning(
                "All %d scores that the server has sent so far are between 0 and 1. They look like probabilities, and "
                "are taken for log-odds. If they are probabilities, say scores='probability'.",
                self._seen,
            )
            self._seen = None

    def _batches(self, documents: Sequence[str]) -> Iterator[tuple[str, ...]]:
        batch: list[str] = []
        characters = 0
        for document in documents:
            if batch and (len(batch) >= self._limit or characters + len(document) > CHARACTERS_PER_REQUEST):
                yield tuple(batch)
                batch, characters = [], 0
            batch.append(document)
            characters += len(document)
        if batch:
            yield tuple(batch)
