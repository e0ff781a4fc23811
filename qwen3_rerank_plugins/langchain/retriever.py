"""A retriever and a reranker as one retriever, with langchain-core alone.

Comes in: a query. Goes out: the best of what another retriever found, best first.
Must not know: models. `Qwen3Rerank` decides; this only asks one after the other.
"""

from __future__ import annotations

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field

from qwen3_rerank_plugins.langchain.compressor import Qwen3Rerank


class Qwen3RerankRetriever(BaseRetriever):
    """Asks a retriever, then reranks; what `ContextualCompressionRetriever` of langchain-classic does, in core.

    Both steps show in a trace as children of this one.

    Attributes:
        retriever: the first stage: a retriever, or any runnable from query to documents.
        reranker: orders what was found, and keeps the best.

    Raises:
        RerankError: as `Qwen3Rerank`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retriever: RetrieverLike = Field(
        description="The first stage: a retriever, or any runnable from query to documents."
    )
    reranker: Qwen3Rerank = Field(description="Orders what was found, and keeps the best.")

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        callbacks = run_manager.get_child()
        found = self.retriever.invoke(query, RunnableConfig(callbacks=callbacks))
        return self.reranker.compress_documents(found, query, callbacks)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        callbacks = run_manager.get_child()
        found = await self.retriever.ainvoke(query, RunnableConfig(callbacks=callbacks))
        return await self.reranker.acompress_documents(found, query, callbacks)
