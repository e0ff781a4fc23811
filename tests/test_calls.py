"""What all calls of a reranker share: a deadline, a limit of waiting work, what they cost, and log-odds in order."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_rerank_plugins import (
    NonFiniteScoreError,
    OverloadedError,
    Qwen3Reranker,
    RankedDocument,
    Ranking,
    RerankTimeoutError,
    SettingsError,
    Stats,
    Usage,
)
from tests.doubles import OverlapScorer
from tests.held_engine import LIMIT, HeldEngine

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", " ", "Tokyo is in Japan."]
CALLS = ["rank", "arank", "score", "ascore", "log_odds", "alog_odds"]


def ask(reranker: Qwen3Reranker, way: str, **options: Any) -> Any:
    """Make one call, to the end."""
    pairs = [(query, text) for query in (QUERY, "Where is Tokyo?") for text in DOCUMENTS]
    arguments = (pairs,) if "score" in way else (QUERY, DOCUMENTS)
    if way.startswith("a"):

        async def run() -> Any:
            return await getattr(reranker, way)(*arguments, **options)

        return asyncio.run(run())
    return getattr(reranker, way)(*arguments, **options)


@pytest.fixture(scope="module")
def demo() -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker("demo", device="cpu") as reranker:
        yield reranker


@pytest.mark.parametrize("way", CALLS)
def test_every_call_has_a_deadline_that_does_not_wait_for_the_pass_under_way(way: str) -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo", timeout=LIMIT) as reranker:
        with pytest.raises(RerankTimeoutError, match=r"within its timeout of 0.1 seconds") as late:
            ask(reranker, way, timeout=0.1)
        assert late.value.waiting_seconds >= 0.1
        assert late.value.computing_seconds == 0.0
        engine.release()
        assert ask(reranker, way)
        assert engine.passes[0] == 1, "the pass of somebody else"
        assert sum(engine.passes[1:]) == (6 if "score" in way else 3), "what was late never ran"


def test_the_timeout_of_the_reranker_holds_unless_a_call_has_its_own() -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo", timeout=0.1) as reranker:
        with pytest.raises(RerankTimeoutError):
            reranker.rank(QUERY, DOCUMENTS)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(reranker.rank, QUERY, DOCUMENTS, timeout=None)
            engine.queue_a_request()
            engine.release()
            assert found.result(LIMIT)[0].index == 1


def test_a_time_limit_of_asyncio_drops_the_work_as_well() -> None:
    async def run(reranker: Qwen3Reranker) -> None:
        with pytest.raises(TimeoutError) as raised:
            async with asyncio.timeout(0.1):
                await reranker.arank(QUERY, DOCUMENTS)
        assert not isinstance(raised.value, RerankTimeoutError)

    with HeldEngine() as engine, Qwen3Reranker("demo") as reranker:
        asyncio.run(run(reranker))
        engine.release()
    assert engine.passes == [1]


@pytest.mark.parametrize("wrong", [0, -1.0, math.inf, math.nan, True, "1"], ids=str)
def test_a_timeout_that_is_no_time_is_refused(demo: Qwen3Reranker, wrong: Any) -> None:
    with pytest.raises(SettingsError, match="timeout must be None or a positive number of seconds"):
        Qwen3Reranker("demo", timeout=wrong)
    with pytest.raises(SettingsError, match="timeout must be None or a positive number of seconds"):
        demo.log_odds(QUERY, DOCUMENTS, timeout=wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "many"], ids=str)
def test_a_limit_of_waiting_tokens_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="max_waiting_tokens must be a positive whole number"):
        Qwen3Reranker("demo", max_waiting_tokens=wrong)


@pytest.mark.parametrize("way", CALLS)
def test_too_much_waiting_work_is_refused_at_once_and_says_when_to_come_back(way: str) -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo", max_waiting_tokens=10) as reranker:
        engine.queue_a_request()
        with pytest.raises(OverloadedError, match=r"max_waiting_tokens=10 allows 10") as refused:
            ask(reranker, way)
        assert refused.value.retry_after > 0
        engine.release()
    with Qwen3Reranker("demo", max_waiting_tokens=10) as reranker:
        assert ask(reranker, way), "one call that is larger than the limit"


def test_the_limit_is_not_part_of_the_engine_so_rerankers_with_others_share_it(demo: Qwen3Reranker) -> None:
    with Qwen3Reranker("demo", device="cpu", max_waiting_tokens="auto", timeout=9) as reranker:
        assert reranker._scorer() is demo._scorer()
        assert reranker.rank(QUERY, DOCUMENTS) == demo.rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("way", ["log_odds", "alog_odds"])
def test_log_odds_come_in_input_order_and_are_those_of_rank(demo: Qwen3Reranker, way: str) -> None:
    found = ask(demo, way)
    ranked = sorted(demo.rank(QUERY, DOCUMENTS, top_n=None), key=lambda document: document.index)
    assert found == pytest.approx([document.logit for document in ranked], abs=1e-4)
    assert found[2] == -math.inf
    assert type(found) is list


def test_limits_of_the_reranker_drop_no_log_odds() -> None:
    with Qwen3Reranker("demo", top_n=1, min_score=0.99, instruction="Find cities.") as reranker:
        found = reranker.log_odds(QUERY, DOCUMENTS)
        assert len(found) == 4
        assert found != pytest.approx(reranker.log_odds(QUERY, DOCUMENTS, instruction=None), abs=1e-6)


def test_broken_log_odds_are_refused() -> None:
    scorer = OverlapScorer(NonFiniteScoreError("broken", [0]))
    with pytest.raises(NonFiniteScoreError):
        Qwen3Reranker(scorer=scorer).log_odds("q", ["d"])


def test_a_ranking_says_what_its_call_cost(demo: Qwen3Reranker) -> None:
    usage = demo.rank(QUERY, [*DOCUMENTS, DOCUMENTS[0]], top_n=1).usage
    assert usage is not None
    assert (usage.documents, usage.passes, usage.truncated_tokens, usage.cache_hits) == (5, 1, 0, 0)
    assert usage.naive_tokens is not None
    assert usage.unique_tokens is not None
    alone = demo.rank(QUERY, [DOCUMENTS[0]]).usage
    assert alone is not None
    assert alone.naive_tokens == alone.unique_tokens
    assert 0 < usage.unique_tokens < usage.naive_tokens
    assert min(usage.waiting_seconds, usage.computing_seconds) > 0


def test_the_usage_counts_cuts_and_passes_and_nothing_for_blank_documents(demo: Qwen3Reranker) -> None:
    with Qwen3Reranker("demo", device="cpu", max_length=200, max_batch_tokens=200) as small:
        ranked = small.rank(QUERY, ["word " * 500, "term " * 500])
    assert ranked.usage is not None
    assert ranked.usage.passes == 2
    assert ranked.usage.unique_tokens == ranked.usage.naive_tokens == 400
    assert ranked.usage.truncated_tokens == sum(document.truncated_tokens for document in ranked)
    blank = demo.rank(QUERY, ["", " "]).usage
    assert blank is not None
    assert (blank.documents, blank.naive_tokens, blank.unique_tokens, blank.passes) == (2, 0, 0, 0)


def test_in_a_pass_that_others_share_a_call_counts_its_own_tokens() -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo") as reranker, ThreadPoolExecutor(4) as pool:
        alone = [pool.submit(reranker.rank, QUERY, [text]) for text in DOCUMENTS[:2]]
        engine.queue_a_request()
        engine.release()
        shared = [found.result(LIMIT).usage for found in alone]
        again = [reranker.rank(QUERY, [text]).usage for text in DOCUMENTS[:2]]
    assert [usage and usage.unique_tokens for usage in shared] == [usage and usage.unique_tokens for usage in again]


def test_a_scorer_of_your_own_that_counts_nothing_leaves_the_tokens_unknown() -> None:
    usage = Qwen3Reranker(scorer=OverlapScorer()).rank("a", ["a", "b"]).usage
    assert usage is not None
    assert (usage.documents, usage.naive_tokens, usage.unique_tokens, usage.passes) == (2, None, None, None)


def test_a_ranking_is_a_list_in_every_other_way(demo: Qwen3Reranker) -> None:
    ranking = demo.rank(QUERY, DOCUMENTS)
    plain = list(ranking)
    assert isinstance(ranking, Ranking)
    assert isinstance(ranking.usage, Usage)
    assert ranking == plain
    assert plain == ranking
    assert ranking[1:] == plain[1:]
    assert [*ranking] == plain
    assert repr(ranking) == repr(plain)
    for one in (pickle.loads(pickle.dumps(ranking)), copy.copy(ranking), copy.deepcopy(ranking)):
        assert (type(one), one, one.usage) == (Ranking, plain, ranking.usage)
    assert Ranking([RankedDocument(0, 0.5, 0.0, 0, "text")]).usage is None


def test_the_stats_of_an_engine_load_nothing_and_add_up_all_calls() -> None:
    with Qwen3Reranker("demo", device="cpu", max_batch_tokens=777) as reranker:
        assert reranker.stats() == Stats(unique_tokens=0, passes=0, waiting_requests=0, waiting_tokens=0)
        ranking = reranker.rank(QUERY, DOCUMENTS)
        reranker.score([(QUERY, "a text"), ("another question", "a text")])
        stats = reranker.stats()
        assert (stats.calls, stats.documents) == (3, 6)
        assert ranking.usage is not None
        assert stats.unique_tokens is not None
        assert stats.unique_tokens > (ranking.usage.unique_tokens or 0)
        assert stats.passes in (2, 3)
        assert stats.tokens_per_second is not None
        assert stats.tokens_per_second > 0
        with Qwen3Reranker("demo", device="cpu", max_batch_tokens=777, top_n=1) as other:
            assert other.stats() == stats


def test_the_stats_show_what_waits() -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo") as reranker:
        engine.queue_a_request()
        stats = reranker.stats()
        assert stats.waiting_requests == 2, "one of them runs"
        assert stats.waiting_tokens
        assert stats.waiting_tokens > 0


def test_a_scorer_of_your_own_needs_no_stats() -> None:
    assert Qwen3Reranker(scorer=OverlapScorer()).stats() == Stats()
