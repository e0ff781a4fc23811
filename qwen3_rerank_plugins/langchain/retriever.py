"""A retriever that asks another retriever and reranks its documents. It needs only langchain-core."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, patch_config
from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins.errors import UnknownArgumentError
from qwen3_rerank_plugins.langchain.compressor import CALL_OPTIONS, Qwen3Rerank
from qwen3_rerank_plugins.langchain.retriever_arguments import ANY, Call, taken_by


class Qwen3RerankRetriever(BaseRetriever):
    """Asks a retriever, then reranks, like langchain-classic's `ContextualCompressionRetriever`.

    A trace shows both steps as children of this one.

    `invoke`, `ainvoke`, `batch` and `abatch` take keyword arguments for one call. `instruction`, `top_n` and
    `min_score` go to the reranker. All others, such as `k` and `filter`, go to the first stage: `k` is the number of
    candidates, `top_n` the number of results. A name that neither of them takes is an error. The `configurable` part of
    a config reaches the first stage as well.

    A vector store takes the names in the signatures of its search methods and in the retriever's `search_kwargs`. For a
    name that it takes without naming it there, set a default in `search_kwargs`.

    Raises:
        UnknownArgumentError: neither the first stage nor the reranker takes one of the keyword arguments.
        RerankError: as `Qwen3Rerank`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retriever: SkipJsonSchema[RetrieverLike] = Field(
        description="The first stage: a retriever, or any runnable from query to documents."
    )
    reranker: Qwen3Rerank = Field(description="The reranker that orders the documents and keeps the best.")

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the best documents, best first; the class describes the keyword arguments."""
        return super().invoke(input, config, _config=ensure_config(config), **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """`invoke` without blocking the event loop."""
        return await super().ainvoke(input, config, _config=ensure_config(config), **kwargs)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        _config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        callbacks = run_manager.get_child()
        config = patch_config(_config, callbacks=callbacks)
        first, ours = self._split_arguments(kwargs, Call(config, in_async=False))
        found = self.retriever.invoke(query, config, **first)
        return self.reranker.compress_documents(found, query, callbacks, **ours)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        _config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        callbacks = run_manager.get_child()
        config = patch_config(_config, callbacks=callbacks)
        first, ours = self._split_arguments(kwargs, Call(config, in_async=True))
        found = await self.retriever.ainvoke(query, config, **first)
        return await self.reranker.acompress_documents(found, query, callbacks, **ours)

    def _split_arguments(self, arguments: dict[str, Any], call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of the first stage, and those of the reranker."""
        arguments = {name: value for name, value in arguments.items() if name != "verbose"}  # LangChain has handled it
        ours = {name: arguments.pop(name) for name in CALL_OPTIONS if name in arguments}
        taken = taken_by(self.retriever, call) if arguments else ANY
        if taken != ANY and (unknown := sorted(arguments.keys() - taken)):
            raise UnknownArgumentError(
                f"Neither the reranker nor the first stage, {type(self.retriever).__name__}, takes "
                f"{', '.join(unknown)}. The reranker takes {', '.join(CALL_OPTIONS)}; the first stage takes "
                f"{', '.join(sorted(taken)) or 'no keyword arguments'}."
            )
        return arguments, ours
