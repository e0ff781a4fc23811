"""The calls of a reranker: `rank`, `score` and `log_odds`, each also for event loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

from qwen3_rerank_plugins._options import UNSET, Unset, check_min_score, check_timeout, check_top_n, resolve
from qwen3_rerank_plugins._registry import EngineUser
from qwen3_rerank_plugins.engine.call import Call, MaxWaitingTokens
from qwen3_rerank_plugins.engine.ranking import (
    PairGroup,
    Ranking,
    checked_log_odds,
    group_pairs,
    pair_probabilities,
    rank_documents,
)
from qwen3_rerank_plugins.engine.report import log_report
from qwen3_rerank_plugins.engine.request import AnyText, Instruction, RerankRequest, make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.settings import LongDocuments, OnNonfinite, one_of
from qwen3_rerank_plugins.engine.submission import asubmit_all, submit_all
from qwen3_rerank_plugins.engine.usage import Stats, usage_of

_Instruction = Instruction | Unset | None
_Timeout = float | Unset | None


class RerankerCalls(EngineUser):
    """The methods that score documents. Their options default to those of the reranker."""

    if TYPE_CHECKING:  # set by the reranker
        instruction: Instruction | None
        top_n: int | None
        min_score: float | None
        max_length: int | None
        long_documents: LongDocuments
        on_nonfinite: OnNonfinite
        timeout: float | None
        max_waiting_tokens: MaxWaitingTokens

    def rank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: _Instruction = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
        long_documents: LongDocuments | Unset = UNSET,
        timeout: _Timeout = UNSET,
    ) -> Ranking:
        """Rank documents by their relevance to the query, best first.

        The options default to those of the reranker.

        Args:
            query: what to look for.
            documents: texts, or mappings with a text under "page_content" or "text". Ties keep this order.
            instruction: for this call, a sentence or a function of the query; None selects the model card's.
            top_n: for this call; None returns all.
            min_score: for this call; None returns all.
            long_documents: for this call.
            timeout: seconds for this call, waiting and computing together; None is no limit.

        Returns:
            A list of at most `top_n` documents, each with its index, probability, log-odds and the tokens cut from its
            end. Its attribute `usage` says what the call cost.

        Raises:
            RequestError: an argument is not text, query and instruction leave no tokens for any document, or a
                document is too long and `long_documents` is "error".
            CheckpointError: the model cannot be loaded.
            ScoringError: the model gave no usable score. Broken scores never order documents.
            RerankTimeoutError: the time is up. What has not run yet is dropped.
            OverloadedError: more work is waiting than `max_waiting_tokens` allows.
            Exception: anything that an instruction function raises.
        """
        call, limits = self._call(timeout), self._limits(top_n, min_score)
        request = self._request(query, documents, instruction, long_documents)
        return _ranked(request, submit_all([request], self._scorer, call), call, *limits)

    async def arank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: _Instruction = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
        long_documents: LongDocuments | Unset = UNSET,
        timeout: _Timeout = UNSET,
    ) -> Ranking:
        """`rank` without blocking the event loop. Canceling the task drops the work that has not run yet."""
        call, limits = self._call(timeout), self._limits(top_n, min_score)
        request = self._request(query, documents, instruction, long_documents)
        return _ranked(request, await asubmit_all([request], self._scorer, call), call, *limits)

    def score(
        self,
        pairs: Iterable[tuple[str, AnyText]],
        *,
        instruction: _Instruction = UNSET,
        timeout: _Timeout = UNSET,
    ) -> list[float]:
        """Return the probability of "yes" for each (query, document) pair, in input order.

        Pairs with the same query share its prefix. The options are those of `rank`.

        Raises:
            RerankError: as `rank`.
        """
        call, groups = self._call(timeout), self._groups(pairs, instruction)
        return _probabilities(groups, submit_all([group.request for group in groups], self._scorer, call))

    async def ascore(
        self,
        pairs: Iterable[tuple[str, AnyText]],
        *,
        instruction: _Instruction = UNSET,
        timeout: _Timeout = UNSET,
    ) -> list[float]:
        """`score` without blocking the event loop."""
        call, groups = self._call(timeout), self._groups(pairs, instruction)
        return _probabilities(groups, await asubmit_all([group.request for group in groups], self._scorer, call))

    def log_odds(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: _Instruction = UNSET,
        timeout: _Timeout = UNSET,
    ) -> list[float]:
        """Return the log-odds of "yes" against "no" for each document, in input order; -inf for a blank document.

        Log-odds stay apart where probabilities round to 0.0 or 1.0. The options are those of `rank`.

        Raises:
            RerankError: as `rank`.
        """
        call, request = self._call(timeout), self._request(query, documents, instruction)
        return _log_odds(request, submit_all([request], self._scorer, call))

    async def alog_odds(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: _Instruction = UNSET,
        timeout: _Timeout = UNSET,
    ) -> list[float]:
        """`log_odds` without blocking the event loop."""
        call, request = self._call(timeout), self._request(query, documents, instruction)
        return _log_odds(request, await asubmit_all([request], self._scorer, call))

    def stats(self) -> Stats:
        """Return what the engine has done so far, and what waits. That is cheap, and loads nothing.

        Rerankers with equal engine settings share one engine, and its counters. A scorer of your own may have a method
        `stats` as well.
        """
        report = getattr(self._scorer(), "stats", Stats)
        found: Stats = report()
        return found

    def _call(self, timeout: _Timeout) -> Call:
        return Call(check_timeout(resolve(timeout, self.timeout)), self.max_waiting_tokens)

    def _limits(self, top_n: int | Unset | None, min_score: float | Unset | None) -> tuple[int | None, float | None]:
        return check_top_n(resolve(top_n, self.top_n)), check_min_score(resolve(min_score, self.min_score))

    def _request(
        self,
        query: str,
        documents: Iterable[AnyText],
        instruction: _Instruction,
        long_documents: LongDocuments | Unset = UNSET,
    ) -> RerankRequest:
        wanted = resolve(instruction, self.instruction)
        long = one_of("long_documents", resolve(long_documents, self.long_documents), get_args(LongDocuments))
        return make_request(query, documents, wanted, self.max_length, long, self.on_nonfinite)

    def _groups(self, pairs: Iterable[tuple[str, AnyText]], instruction: _Instruction) -> list[PairGroup]:
        return group_pairs(pairs, lambda query, documents: self._request(query, documents, instruction))


def _ranked(
    request: RerankRequest, found: Sequence[Scores], call: Call, top_n: int | None, min_score: float | None
) -> Ranking:
    ranking = Ranking(rank_documents(request, found[0], top_n, min_score), usage_of(found, call))
    log_report(found)
    return ranking


def _probabilities(groups: Sequence[PairGroup], scores: Sequence[Scores]) -> list[float]:
    probabilities = pair_probabilities(groups, scores)
    log_report(scores)
    return probabilities


def _log_odds(request: RerankRequest, found: Sequence[Scores]) -> list[float]:
    log_odds = checked_log_odds(request, found[0])
    log_report(found)
    return log_odds
