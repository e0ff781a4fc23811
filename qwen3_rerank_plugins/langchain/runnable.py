"""The compressor as a step of a chain, with types from which LangChain can make schemas, graphs and tools."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig, RunnableLambda
from pydantic import BaseModel, create_model


class RerankInput(TypedDict):
    """The input of the step, which a trace shows.

    Attributes:
        query: the query.
        documents: the documents to rerank.
    """

    query: str
    documents: list[Document]


class RerankStep(RunnableLambda[RerankInput, list[Document]]):
    """A `RunnableLambda` with explicit types, because LangChain cannot resolve the annotations of its functions."""

    @property
    def InputType(self) -> Any:  # noqa: N802  LangChain's name
        """`RerankInput`."""
        return RerankInput

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """Return a model with the two fields, which a tool can take as its arguments."""
        return create_model(self.get_name("Input"), query=(str, ...), documents=(list[Document], ...))

    @property
    def OutputType(self) -> Any:  # noqa: N802
        """Documents, best first."""
        return list[Document]
