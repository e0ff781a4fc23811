"""The endpoints of Cohere, Jina, vLLM and Text Embeddings Inference that return documents in order."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request

from qwen3_rerank_plugins.serve.endpoints.answers import (
    RerankAnswer,
    RerankResult,
    TeiResult,
    Text,
    additions,
    meta_of,
    tokens_of,
)
from qwen3_rerank_plugins.serve.endpoints.bodies import AnyRerankBody, RerankBody, TeiBody
from qwen3_rerank_plugins.serve.ranking_service import RankingService, score_of


def rerank_endpoints(service: RankingService) -> APIRouter:
    """Return the endpoints as a router."""
    router = APIRouter(tags=["rerank"])

    async def rerank(body: RerankBody, request_id: str, *, texts_by_default: bool) -> RerankAnswer:
        service.note_model(body.model)
        documents = body.texts()
        ranking = await service.rank(body.query, documents, body.options())
        with_texts = texts_by_default if body.return_documents is None else body.return_documents
        return RerankAnswer(
            id=request_id,
            model=service.name,
            results=[
                RerankResult(
                    index=found.index,
                    relevance_score=score_of(found, log_odds=body.log_odds),
                    document=Text(text=found.text) if with_texts else None,
                    **additions(found),
                )
                for found in ranking.documents
            ],
            usage=tokens_of(ranking.tokens),
            meta=meta_of(ranking.usage),
        )

    async def rerank_tei(body: TeiBody) -> list[TeiResult]:
        service.note_model(body.model)
        ranking = await service.rank(body.query, body.texts, body.options())
        return [
            TeiResult(
                index=found.index,
                score=score_of(found, log_odds=body.raw_scores),
                text=found.text if body.return_text else None,
                **additions(found),
            )
            for found in ranking.documents
        ]

    @router.post("/rerank", response_model_exclude_none=True)
    async def rerank_of_any(body: Annotated[AnyRerankBody, Body()], request: Request) -> RerankAnswer | list[TeiResult]:
        """Rank documents: Jina's and vLLM's body, or that of Text Embeddings Inference, which gets a bare list."""
        if isinstance(body, TeiBody):
            return await rerank_tei(body)
        return await rerank(body, request.state.request_id, texts_by_default=True)

    @router.post("/v1/rerank", response_model_exclude_none=True)
    async def rerank_v1(body: RerankBody, request: Request) -> RerankAnswer:
        """Rank documents, as Cohere (v1), Jina and vLLM do."""
        return await rerank(body, request.state.request_id, texts_by_default=True)

    @router.post("/v2/rerank", response_model_exclude_none=True)
    async def rerank_v2(body: RerankBody, request: Request) -> RerankAnswer:
        """Rank documents, as Cohere (v2) does."""
        return await rerank(body, request.state.request_id, texts_by_default=False)

    return router
