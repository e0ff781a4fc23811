"""The scores that an engine has computed before, by everything that decides them.

The key of a score is a digest of the engine's identity, of whether overflowing scores are computed again in float32,
and of the token IDs of prefix and document. Instruction, template, `max_length` and windows decide these IDs, so they
need no place in the key.
"""

from __future__ import annotations

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
    """Computes only those scores of a request that are not known.

    Args:
        store: keeps the scores.
        identity: tells which engine computed them.
    """

    def __init__(self, store: ScoreStore, identity: Identity) -> None:
        self._store = store
        self.identity = identity

    def score(
        self, tokens: TokenizedRequest, on_nonfinite: str, finish: Finish[Result], submit: Submit[Result]
    ) -> Future[Result]:
        """Return the result of a request. What is known is not queued, and nothing is if everything is known.

        Args:
            tokens: the request.
            on_nonfinite: part of the keys, see `RerankRequest`.
            finish: builds the result from all log-odds.
            submit: queues the documents whose scores are missing.
        """
        identity = self.identity.current()
        if identity is None:
            return submit(tokens, finish)
        keys = keys_of(tokens, identity, on_nonfinite)
        known = self._store.get(keys)
        missing = [document for document, key in enumerate(keys) if key not in known]

        def complete(log_odds: Sequence[float], rescored: Collection[int]) -> Result:
            computed = {
                document: CachedScore(found, position in rescored)
                for position, (document, found) in enumerate(zip(missing, log_odds, strict=True))
            }
            self._keep(tokens, on_nonfinite, computed)
            scores = [computed.get(document) or known[key] for document, key in enumerate(keys)]
            return finish(
                tuple(score.log_odds for score in scores),
                [document for document, score in enumerate(scores) if score.rescored],
            )

        if missing:
            return submit(tokens.only(missing), complete)
        future: Future[Result] = Future()
        future.set_result(complete((), ()))
        return future

    def close(self) -> None:
        """Keep what was computed, and find nothing any more."""
        self._store.close()

    def _keep(self, tokens: TokenizedRequest, on_nonfinite: str, computed: Mapping[int, CachedScore]) -> None:
        """Keep the finite scores, under the identity that the engine has now that it is loaded."""
        finite = {document: score for document, score in computed.items() if math.isfinite(score.log_odds)}
        identity = self.identity.current() if finite else None
        if identity is not None:
            keys = keys_of(tokens.only(list(finite)), identity, on_nonfinite)
            self._store.put(dict(zip(keys, finite.values(), strict=True)))


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
