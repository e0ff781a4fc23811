"""The scores that an engine has computed before, by everything that decides them.

The key of a score is a digest of the engine's identity, of whether overflowing scores are computed again in float32,
and of the token IDs of prefix and document. Instruction, template, `max_length` and windows decide these IDs, so they
need no place in the key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from qwen3_rerank_plugins.engine.score_cache.identity import Identity
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore, ScoreStore
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

KEY_BYTES = 32
Result = TypeVar("Result")
Finish = Callable[[Sequence[float], Collection[int]], Result]
"""Builds a result from the log-odds of a request's documents and the positions of those rescored in float32."""
Submit = Callable[[TokenizedRequest, Finish[Result]], Future[Result]]
"""Queues a request."""


class ScoreCache:
    """Finds the scores of a request that are known, and keeps those that are computed.

    Args:
        store: keeps the scores.
        identity: tells which engine computed them.
    """

    def __init__(self, store: ScoreStore, identity: Identity) -> None:
        self._store = store
        self.identity = identity

    def look_up(self, tokens: TokenizedRequest, on_nonfinite: str) -> Lookup:
        """Return what is known of a request; see `RerankRequest` for `on_nonfinite`, which is part of the keys."""
        identity = self.identity.current()
        keys = [] if identity is None else keys_of(tokens, identity, on_nonfinite)
        found = self._store.get(keys) if keys else {}
        known = {document: found[key] for document, key in enumerate(keys) if key in found}
        return Lookup(self, tokens, on_nonfinite, known)

    def keep(self, tokens: TokenizedRequest, on_nonfinite: str, computed: Mapping[int, CachedScore]) -> None:
        """Keep the scores that are finite, under the identity that the engine has now that it is loaded."""
        finite = {document: score for document, score in computed.items() if math.isfinite(score.log_odds)}
        identity = self.identity.current() if finite else None
        if identity is not None:
            keys = keys_of(tokens.only(list(finite)), identity, on_nonfinite)
            self._store.put(dict(zip(keys, finite.values(), strict=True)))

    def close(self) -> None:
        """Write what was computed, and find nothing any more."""
        self._store.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """A request, and what the cache knows of it.

    Attributes:
        cache: where it was looked up.
        tokens: the request.
        on_nonfinite: see `RerankRequest`.
        known: the scores that were found, by positions in `tokens.document_ids`.
    """

    cache: ScoreCache
    tokens: TokenizedRequest
    on_nonfinite: str
    known: dict[int, CachedScore]

    def score(self, finish: Finish[Result], submit: Submit[Result]) -> Future[Result]:
        """Return the result of the request. What is known is not queued, and nothing is if everything is known.

        Args:
            finish: builds the result from all log-odds.
            submit: queues the documents whose scores are missing.
        """
        count = len(self.tokens.document_ids)
        missing = [document for document in range(count) if document not in self.known]

        def complete(log_odds: Sequence[float], rescored: Collection[int]) -> Result:
            computed = {
                document: CachedScore(found, position in rescored)
                for position, (document, found) in enumerate(zip(missing, log_odds, strict=True))
            }
            self.cache.keep(self.tokens, self.on_nonfinite, computed)
            whole = self.known | computed
            scores = [whole[document] for document in range(count)]
            return finish(
                tuple(score.log_odds for score in scores),
                [document for document, score in enumerate(scores) if score.rescored],
            )

        if missing:
            return submit(self.tokens.only(missing), complete)
        future: Future[Result] = Future()
        future.set_result(complete((), ()))
        return future


def keys_of(tokens: TokenizedRequest, identity: bytes, on_nonfinite: str) -> list[bytes]:
    """Return the key of each entry of `tokens.document_ids`."""
    head = hashlib.blake2b(identity, digest_size=KEY_BYTES)
    prefix = array("I", tokens.prefix)
    head.update(f"/{on_nonfinite}/{len(prefix)}/".encode())  # the length separates prefix and document
    head.update(prefix.tobytes())
    keys = []
    for ids in tokens.document_ids:
        whole = head.copy()
        whole.update(array("I", ids).tobytes())
        keys.append(whole.digest())
    return keys
