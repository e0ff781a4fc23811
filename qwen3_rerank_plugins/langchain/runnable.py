"""The compressor as a step of a chain, with types that LangChain can make schemas, graphs and tools from."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig, RunnableLambda
from pydantic import BaseModel, create_model


class RerankInput(TypedDict):
    """What the step takes, and what a trace shows.

    Attributes:
        query: what is looked for.
        documents: what was found.
    """

    query: str
    documents: list[Document]


class RerankStep(RunnableLambda[RerankInput, list[Document]]):
    """A `RunnableLambda` that knows its types; the host would take them from annotations that it cannot resolve."""

    @property
    def InputType(self) -> Any:  # noqa: N802  the host's name
        """`RerankInput`."""
        return RerankInput

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """An object with the two properties, which a tool can take as its arguments."""
        return create_model(self.get_name("Input"), query=(str, ...), documents=(list[Document], ...))

    @property
    def OutputType(self) -> Any:  # noqa: N802
        """Documents, best first."""
        return list[Document]
