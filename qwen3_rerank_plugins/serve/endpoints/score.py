"""vLLM's `/score`: the scores of pairs, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from pydantic import AliasChoices, Field

from qwen3_rerank_plugins.serve.endpoints.answers import Score, ScoreAnswer, tokens_of
from qwen3_rerank_plugins.serve.endpoints.bodies import Document, ScoringFields
from qwen3_rerank_plugins.serve.failures import Failure
from qwen3_rerank_plugins.serve.ranking_service import RankedRequest, RankingService, RankOptions, score_of


class ScoreBody(ScoringFields):
    """One query for all documents, or as many queries as documents."""

    queries: str | list[str] = Field(
        validation_alias=AliasChoices("queries", "text_1", "data_1"), description="Also `text_1` or `data_1`."
    )
    documents: str | list[Document] = Field(
        validation_alias=AliasChoices("documents", "text_2", "data_2", "items"),
        description="Also `text_2`, `data_2` or `items`.",
    )
    use_activation: bool | None = Field(
        default=None,
        validation_alias=AliasChoices("use_activation", "activation", "softmax"),
        description="False returns log-odds instead of probabilities.",
    )

    def pairs(self) -> list[tuple[str, Document]]:
        """Return the pairs to score.

        Raises:
            Failure: there are neither one query nor as many as documents.
        """
        queries = [self.queries] if isinstance(self.queries, str) else self.queries
        documents = [self.documents] if isinstance(self.documents, str) else self.documents
        if len(queries) == 1:
            queries = queries * len(documents)
        if len(queries) != len(documents):
            raise Failure(
                422,
                f"There are {len(queries)} queries and {len(documents)} documents. Send one query for all documents, "
                "or one for each.",
            )
        return list(zip(queries, documents, strict=True))


def score_endpoints(service: RankingService) -> APIRouter:
    """Return the endpoints as a router."""
    router = APIRouter(tags=["score"])

    @router.post("/score")
    @router.post("/v1/score")
    async def score(body: ScoreBody, request: Request) -> ScoreAnswer:
        """Score pairs of a query and a document, in their order."""
        service.note_model(body.model)
        pairs = body.pairs()
        service.check_count(len(pairs))
        grouped: dict[str, list[int]] = {}
        for position, (query, _) in enumerate(pairs):
            grouped.setdefault(query, []).append(position)
        rankings = await _rank_all(
            service,
            [(query, [pairs[position][1] for position in positions]) for query, positions in grouped.items()],
            body.options(),
        )
        scores = [0.0] * len(pairs)
        for positions, ranking in zip(grouped.values(), rankings, strict=True):
            for found in ranking.documents:
                scores[positions[found.index]] = score_of(found, log_odds=body.use_activation is False)
        return ScoreAnswer(
            id=f"score-{request.state.request_id}",
            model=service.name,
            data=[Score(index=index, score=found) for index, found in enumerate(scores)],
            usage=tokens_of(sum(ranking.tokens for ranking in rankings)),
        )

    return router


async def _rank_all(
    service: RankingService, groups: Sequence[tuple[str, Sequence[Document]]], options: RankOptions
) -> list[RankedRequest]:
    """Rank the documents of each query at once. If one fails, the others are canceled."""
    tasks = [asyncio.ensure_future(service.rank(query, documents, options)) for query, documents in groups]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
