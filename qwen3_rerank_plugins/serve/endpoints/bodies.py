"""The bodies of `/rerank`, as Cohere, Jina, vLLM and Text Embeddings Inference define them, with optional fields more.

Sources: the API references of Cohere (v1 and v2) and Jina, and the OpenAPI descriptions of vLLM and Text Embeddings
Inference. Unknown fields are ignored, because gateways and frameworks add their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, Tag

from qwen3_rerank_plugins._options import UNSET, Unset
from qwen3_rerank_plugins.engine.settings import LongDocuments
from qwen3_rerank_plugins.serve.ranking_service import RankOptions

Document = str | dict[str, Any]


class ScoringFields(BaseModel):
    """Fields that every endpoint for scores accepts."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: str | None = Field(default=None, description="Any name; the one model of this server answers.")
    instruction: str | None = Field(
        default=None,
        validation_alias=AliasChoices("instruction", "instruct"),
        description="What relevant means for your task, in English.",
    )
    windows: bool | None = Field(
        default=None, description="Read a document that is too long in windows, and return the best one's score."
    )
    long_documents: LongDocuments | None = Field(
        default=None, description="How a document that is too long is treated; goes before `windows` and `truncate`."
    )
    truncate: bool | None = Field(
        default=None, description="Cut a document that is too long (true), or refuse the request (false)."
    )
    max_tokens_per_doc: int | None = Field(default=None, ge=1, description="Tokens to read of each document.")

    def reading(self) -> LongDocuments | Unset:
        """Return how long documents are treated; `UNSET` leaves it to the server."""
        if self.long_documents is not None:
            return self.long_documents
        if self.windows:
            return "windows"
        if self.truncate is None:
            return UNSET
        return "truncate" if self.truncate else "error"

    def options(self) -> RankOptions:
        """Return the options that all documents of the request share."""
        return RankOptions(
            instruction=UNSET if self.instruction is None else self.instruction,
            long_documents=self.reading(),
            max_tokens_per_doc=self.max_tokens_per_doc,
        )


class RankingFields(ScoringFields):
    """Fields of the endpoints that return documents in order."""

    query: str = Field(description="What to look for.")
    top_n: int | None = Field(
        default=None,
        ge=0,
        description="Maximum number of results. Null, 0, or more than there are documents: all of them.",
    )
    min_score: float | None = Field(default=None, ge=0, le=1, description="Lowest probability to return.")
    raw_scores: bool = Field(default=False, description="Return log-odds instead of probabilities.")

    def options(self) -> RankOptions:
        """Return the options of the request."""
        return dataclasses.replace(super().options(), top_n=self.top_n or None, min_score=self.min_score)


class RerankBody(RankingFields):
    """A request of Cohere, Jina or vLLM."""

    documents: list[Document] = Field(description='Texts, or objects with the text under "text".')
    return_documents: bool | None = Field(
        default=None, description="Return the texts too. The default is true, as Jina has it, and false for v2."
    )
    rank_fields: list[str] | None = Field(
        default=None, description="Fields of the objects in `documents` to rank by, in this order."
    )
    max_chunks_per_doc: int | None = Field(default=None, description="Accepted and not used: see `windows`.")
    use_activation: bool | None = Field(
        default=None,
        validation_alias=AliasChoices("use_activation", "activation"),
        description="vLLM's word for `raw_scores`: false returns log-odds.",
    )

    @property
    def log_odds(self) -> bool:
        """Whether the scores are log-odds."""
        return self.raw_scores or self.use_activation is False

    def texts(self) -> Sequence[Document]:
        """Return the documents, with the values of `rank_fields` joined where they are named."""
        if not self.rank_fields:
            return self.documents
        return [_joined(document, self.rank_fields) for document in self.documents]


class TeiBody(RankingFields):
    """A request of Text Embeddings Inference."""

    texts: list[str] = Field(description="The documents.")
    return_text: bool = Field(default=False, description="Return the texts too.")


def _joined(document: Document, fields: Sequence[str]) -> Document:
    if isinstance(document, str):
        return document
    found = [str(document[name]) for name in fields if document.get(name) is not None]
    return "\n".join(found) if found else document


def _kind(body: Any) -> str:
    return "tei" if isinstance(body, TeiBody) or (isinstance(body, dict) and "texts" in body) else "rerank"


AnyRerankBody = Annotated[Annotated[RerankBody, Tag("rerank")] | Annotated[TeiBody, Tag("tei")], Discriminator(_kind)]
"""A body of `/rerank`: that of Text Embeddings Inference if it has the field `texts`."""
