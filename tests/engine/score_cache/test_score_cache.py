"""Only what is missing is queued, the result is that of the whole request, and nothing wrong is kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.score_cache.identity import OneEngine
from qwen3_rerank_plugins.engine.score_cache.memory_store import MemoryStore
from qwen3_rerank_plugins.engine.score_cache.score_cache import Finish, ScoreCache, keys_of
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

Whole = tuple[tuple[float, ...], tuple[int, ...]]


def request(*documents: tuple[int, ...], prefix: tuple[int, ...] = (1, 2)) -> TokenizedRequest:
    return TokenizedRequest(prefix, documents, tuple(range(len(documents))), (0,) * len(documents))


def whole(log_odds: Sequence[float], rescored: Collection[int]) -> Whole:
    return tuple(log_odds), tuple(sorted(rescored))


class Engine:
    """Scores a document as the sum of its IDs. A negative sum was rescored."""

    def __init__(self) -> None:
        self.computed: list[tuple[int, ...]] = []

    def submit(self, tokens: TokenizedRequest, finish: Finish[Whole]) -> Future[Whole]:
        self.computed += tokens.document_ids
        future: Future[Whole] = Future()
        future.set_result(finish(*self.answer(tokens)))
        return future

    @staticmethod
    def answer(tokens: TokenizedRequest) -> Whole:
        log_odds = tuple(float(sum(ids)) / 3 for ids in tokens.document_ids)
        return log_odds, tuple(index for index, found in enumerate(log_odds) if found > 10)


def cache() -> ScoreCache:
    return ScoreCache(MemoryStore(2**20), OneEngine())


@given(st.lists(st.lists(st.sampled_from([(4,), (5, 6), (40,), (41, 1), (7, 7, 7)]), unique=True, min_size=1)))
def test_a_result_from_the_cache_is_that_of_the_engine(requests: list[list[tuple[int, ...]]]) -> None:
    cached, engine, seen = cache(), Engine(), set[tuple[int, ...]]()
    for documents in requests:
        tokens = request(*documents)
        engine.computed.clear()
        found = cached.look_up(tokens, "float32").score(whole, engine.submit).result()
        assert found == Engine.answer(tokens)
        assert engine.computed == [ids for ids in documents if ids not in seen]
        seen.update(documents)


def test_a_request_of_known_documents_is_not_queued() -> None:
    cached, engine = cache(), Engine()
    cached.look_up(request((4,), (5,)), "error").score(whole, engine.submit).result()

    def refuse(*_: object) -> Future[Whole]:
        raise AssertionError("queued")

    assert cached.look_up(request((5,), (4,)), "error").score(whole, refuse).result() == Engine.answer(
        request((5,), (4,))
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_never_kept(value: float) -> None:
    cached, engine = cache(), Engine()

    def fail(tokens: TokenizedRequest, finish: Finish[Whole]) -> Future[Whole]:
        future: Future[Whole] = Future()
        future.set_result(finish((value, 2.0), ()))
        return future

    cached.look_up(request((4,), (5,)), "error").score(whole, fail).result()
    assert cached.look_up(request((4,), (5,)), "error").score(whole, engine.submit).result() == ((4 / 3, 2.0), ())
    assert engine.computed == [(4,)]


def test_a_request_that_fails_or_is_canceled_keeps_nothing() -> None:
    cached, engine = cache(), Engine()
    failed: Future[Whole] = Future()
    failed.set_exception(ValueError("no score"))
    with pytest.raises(ValueError, match="no score"):
        cached.look_up(request((4,)), "error").score(whole, lambda *_: failed).result()
    assert cached.look_up(request((4,)), "error").score(whole, lambda *_: Future()).cancel()
    cached.look_up(request((4,)), "error").score(whole, engine.submit).result()
    assert engine.computed == [(4,)]


def test_every_part_of_a_prompt_is_part_of_its_key() -> None:
    prompts = [request((4,), (5,)), request((4, 5)), request((2, 4), prefix=(1,)), request((4,), prefix=(1, 3))]
    identities = [b"one", b"other"]
    found = [
        key
        for tokens in prompts
        for identity in identities
        for mode in ("error", "float32")
        for key in keys_of(tokens, identity, mode)
    ]
    assert len(set(found)) == len(found) == 5 * 2 * 2
    assert {len(key) for key in found} == {32}
    assert keys_of(request((5,), (4,)), b"one", "error") == keys_of(request((4,), (5,)), b"one", "error")[::-1]


class Changing(OneEngine):
    """An engine whose placement changes when it is loaded."""

    now: bytes | None = b"predicted"

    def current(self) -> bytes | None:
        return self.now


def test_a_score_is_kept_for_the_placement_that_computed_it() -> None:
    identity, engine = Changing(), Engine()
    cached = ScoreCache(MemoryStore(2**20), identity)

    def load_and_submit(tokens: TokenizedRequest, finish: Finish[Whole]) -> Future[Whole]:
        identity.now = b"loaded"
        return engine.submit(tokens, finish)

    cached.look_up(request((4,)), "error").score(whole, load_and_submit).result()
    cached.look_up(request((4,)), "error").score(whole, engine.submit).result()
    assert engine.computed == [(4,)]
    identity.now = b"predicted"
    cached.look_up(request((4,)), "error").score(whole, engine.submit).result()
    assert engine.computed == [(4,), (4,)]


def test_without_an_identity_everything_is_computed_and_nothing_kept() -> None:
    class Refusing:
        def get(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedScore]:
            raise AssertionError

        def put(self, scores: Mapping[bytes, CachedScore]) -> None:
            raise AssertionError

        def close(self) -> None: ...

    identity, engine = Changing(), Engine()
    identity.now = None
    cached = ScoreCache(Refusing(), identity)
    assert cached.look_up(request((4,)), "error").score(whole, engine.submit).result() == ((4 / 3,), ())
